"""Filter ``c4``: the cleaning rules of the Colossal Clean Crawled Corpus."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from workbench import hookimpl
from workbench.artifacts.corpus import Document
from workbench.errors import ArtifactError
from workbench.kinds.filter import Filter
from workbench.plugin import Config, Plugin

_TERMINAL = (".", "!", "?", '"', "”")
_ELLIPSES = ("...", "…")
_SENTENCE_END = re.compile(r"[.!?]+[\"'”’)\]]*(?=\s|$)")
_POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_CITATION = re.compile(r"\[(\d+|edit|citation needed)\]", re.IGNORECASE)


class C4Config(Config):
    """Configuration of ``c4``: the paper's rules, each with a switch or a threshold; a document at a threshold is kept."""

    clean: bool = True
    """Whether to remove lines as the paper does. If not, no text is edited (ids are hashes of the content), and a document
    with a line that mentions JavaScript or a policy is rejected as a whole."""
    terminal_punctuation: bool = True
    """With ``clean``: remove lines that don't end in a full stop, exclamation mark, question mark or quotation mark."""
    min_line_words: int = Field(5, ge=0)
    """With ``clean``: remove lines of fewer words."""
    citations: bool = True
    """With ``clean``: remove citation markers such as [1] or [citation needed]."""
    min_terminal_lines: float = Field(0, ge=0, le=1)
    """Reject where a smaller share of lines, blank ones aside, ends in such punctuation: the rule for ``clean: false``."""
    javascript: bool = True
    """Lines that mention JavaScript, which ask to switch it on."""
    policy: bool = True
    """Lines that mention terms of use, privacy policies or cookies."""
    lorem_ipsum: bool = True
    """Reject placeholder text with "lorem ipsum" in it."""
    curly_bracket: bool = True
    """Reject text with a curly bracket in it, which is taken for code."""
    min_sentences: int = Field(3, ge=0)
    """Fewest sentences; one ends with terminal punctuation before white space."""
    bad_words: tuple[str, ...] = ()
    """Reject text with one of these words or phrases in it, whatever their case."""
    bad_words_file: str | None = None
    """A UTF-8 file with more of them, one a line; the paper took the list at github.com/LDNOOBW."""


class C4(Filter[C4Config]):
    """The rules of C4 (Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 2.2).

    Its removal of repeated three-sentence spans is left to `dedup`, its language detection to other filters. It took
    sentences from NLTK; here they are counted by their punctuation.
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
            words = line.split()
            if words and config.terminal_punctuation and not _ends_sentence(line):
                continue
            if words and len(words) < config.min_line_words:
                continue
            if self._unwanted(line.lower()):
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
        if unwanted := self._unwanted(low):
            return unwanted
        if self._bad_words and self._bad_words.search(low):
            return "bad_words"
        if sum(map(_ends_sentence, lines)) < config.min_terminal_lines * len(lines):
            return "min_terminal_lines"
        if len(_SENTENCE_END.findall(text)) < config.min_sentences:
            return "min_sentences"
        return None

    def _unwanted(self, low: str) -> str | None:
        """The rule on mentions that text in lower case breaks: of a line, or without `clean` of a document."""
        if self.config.javascript and "javascript" in low:
            return "javascript"
        if self.config.policy and any(phrase in low for phrase in _POLICY):
            return "policy"
        return None

    @cached_property
    def _bad_words(self) -> re.Pattern[str] | None:
        words: Iterable[str] = self.config.bad_words
        if self.config.bad_words_file is not None:
            words = [*words, *self._decoded(self._file_of_bad_words()).splitlines()]
        listed = sorted({word.strip().lower() for word in words} - {""})
        return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, listed))})(?!\w)") if listed else None

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


def _ends_sentence(line: str) -> bool:
    return line.endswith(_TERMINAL) and not line.endswith(_ELLIPSES)


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """Offer the plugin."""
    return [C4]
