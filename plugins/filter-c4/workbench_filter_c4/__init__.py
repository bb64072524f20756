"""Filter ``c4``: the cleaning rules of the Colossal Clean Crawled Corpus."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from workbench import hookimpl
from workbench.artifacts.corpus import Document
from workbench.artifacts.words import ends_sentence, finder, folded, lacks_sentence_marks, sentences, tokens
from workbench.errors import ArtifactError
from workbench.kinds.filter import Filter
from workbench.plugin import Config, Plugin

if TYPE_CHECKING:
    from regex import Pattern

_TERMINAL = (".", "!", "?", '"', "”", "“", "»", "›", "」", "』")
_ELLIPSES = ("...", "…", "⋯", "。。。")
_POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_CITATION = re.compile(r"\[(\d*|edit|citation needed)\]", re.IGNORECASE)


class C4Config(Config):
    """Configuration of ``c4``: the paper's rules, each with a switch or a threshold; a document at a threshold is kept."""

    clean: bool = True
    """Whether to remove lines as the paper does. If not, no text is edited (ids are hashes of the content), and a document
    with a line that mentions JavaScript or a policy is rejected as a whole."""
    terminal_punctuation: bool = True
    """With ``clean``: remove lines that don't end in their script's full stop, exclamation mark, question mark or quotation mark.
    Lines in Thai and Lao, which have none, stay."""
    min_line_words: int = Field(5, ge=0)
    """With ``clean``: remove lines of fewer words; in scripts without blanks between words each letter counts as one."""
    max_word_length: int = Field(1_000, ge=1)
    """Lines with a longer word, in characters, which is no language; in scripts without blanks between words none is long."""
    citations: bool = True
    """With ``clean``: remove citation markers such as [1], [] or [citation needed]; the words are English."""
    min_terminal_lines: float = Field(0, ge=0, le=1)
    """Reject where a smaller share of lines, blank ones aside, ends in such punctuation: the rule for ``clean: false``."""
    javascript: bool = True
    """Lines that mention JavaScript, which ask to switch it on."""
    policy: bool = True
    """Lines that mention terms of use, privacy policies or cookies; for English alone, false leaves the rule out."""
    lorem_ipsum: bool = True
    """Reject placeholder text with "lorem ipsum" in it."""
    curly_bracket: bool = True
    """Reject text with a curly bracket in it, which is taken for code."""
    min_sentences: int = Field(3, ge=0)
    """Fewest sentences; one ends with terminal punctuation of its script, in some before white space. In Thai and Lao, a sentence
    is what stands between blanks. 0 leaves the rule out."""
    bad_words: tuple[str, ...] = ()
    """Reject text with one of these words or phrases in it, whatever their case and Unicode composition. In scripts without
    blanks between words they also match inside longer ones."""
    bad_words_file: str | None = None
    """A UTF-8 file with more of them, one a line; the paper took the list at github.com/LDNOOBW."""


class C4(Filter[C4Config]):
    """The rules of C4 (Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 2.2).

    Its removal of repeated three-sentence spans is left to `dedup`, its language detection to other filters. It took
    sentences from NLTK; here they are counted by their punctuation. It was made for English; what ends a sentence and what is a
    word is read here by the script.
    """

    name = "c4"
    Config = C4Config

    def external_inputs(self) -> Mapping[str, str]:
        """The digest of the file of bad words."""
        if self.config.bad_words_file is None:
            return {}
        return {"c4 bad words": f"sha256:{hashlib.sha256(self._file_of_bad_words()).hexdigest()}"}

    def clean(self, document: Document) -> Document:
        """The document without the lines that the rules remove; blank ones stay."""
        config = self.config
        if not config.clean:
            return document
        kept = []
        for line in document.text.splitlines():
            line = (_CITATION.sub("", line) if config.citations else line).rstrip()
            if line.strip() and config.terminal_punctuation and not _is_terminal(line):
                continue
            if line.strip() and len(tokens(line)) < config.min_line_words:
                continue
            if self._unwanted(line):
                continue
            kept.append(line)
        text = "\n".join(kept).strip("\n")
        return document if text == document.text else replace(document, text=text)

    def reject(self, document: Document) -> str | None:
        """The first rule that the document breaks."""
        config, text = self.config, document.text
        low = text.lower()
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if not lines:
            return "no_line"
        if config.lorem_ipsum and "lorem ipsum" in low:
            return "lorem_ipsum"
        if config.curly_bracket and ("{" in text or "}" in text):
            return "curly_bracket"
        if unwanted := self._unwanted(text):
            return unwanted
        if self._bad_words and self._bad_words.search(folded(text)):
            return "bad_words"
        if sum(map(_is_terminal, lines)) < config.min_terminal_lines * len(lines):
            return "min_terminal_lines"
        if config.min_sentences and sentences(text) < config.min_sentences:
            return "min_sentences"
        return None

    def _unwanted(self, text: str) -> str | None:
        """The rule on mentions and long words that the text breaks: a line, or without `clean` a document."""
        low = text.lower()
        if self.config.javascript and "javascript" in low:
            return "javascript"
        if self.config.policy and any(phrase in low for phrase in _POLICY):
            return "policy"
        longest = self.config.max_word_length
        if len(text) > longest and max(map(len, tokens(text)), default=0) > longest:
            return "max_word_length"
        return None

    @cached_property
    def _bad_words(self) -> Pattern[str] | None:
        words: Iterable[str] = self.config.bad_words
        if self.config.bad_words_file is not None:
            words = [*words, *self._decoded(self._file_of_bad_words()).splitlines()]
        listed = {word for word in words if folded(word).strip()}
        return finder(listed) if listed else None

    def _file_of_bad_words(self) -> bytes:
        name = self.config.bad_words_file or ""
        try:
            return Path(name).expanduser().read_bytes()
        except OSError as error:
            fix = "set `bad_words_file` to a list of words, one a line, or to null"
            raise ArtifactError(f"the list of bad words can't be read: {error.strerror}", name, fix) from error

    def _decoded(self, content: bytes) -> str:
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            fix = "store it as UTF-8, one word a line"
            raise ArtifactError(f"the list of bad words is not UTF-8: {error}", self.config.bad_words_file or "", fix) from error


def _is_terminal(line: str) -> bool:
    """Whether a line ends as one of prose does in its script; as in the paper, a bracket behind a full stop is no such end."""
    if line.endswith(_ELLIPSES):
        return False
    if line.endswith(_TERMINAL) or line.isascii():
        return line.endswith(_TERMINAL)
    return lacks_sentence_marks(line) or (line[-1] not in ")]'’" and ends_sentence(line))


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """Offer the plugin."""
    return [C4]
