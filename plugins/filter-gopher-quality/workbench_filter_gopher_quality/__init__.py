"""Filter ``gopher-quality``: the quality rules of MassiveText."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from pydantic import Field

from workbench import hookimpl
from workbench.artifacts.corpus import Document
from workbench.artifacts.words import folded, has_no_blanks, tokens
from workbench.kinds.filter import Filter
from workbench.plugin import Config, Plugin

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
# A sign that stands for nothing else; or a hyphen or asterisk before a blank, unless the whole line is a rule such as "- - -".
_BULLET = re.compile(r"[•‣▪◦●■・]|[-*]\s(?![-*\s]*$)")
_ELLIPSIS = re.compile(r"\.\.\.|…+|⋯+|。。。+")
_ELLIPSES = ("...", "…", "⋯", "。。。")
_PUNCTUATION = ".,;:!?\"'`()[]{}<>*_“”‘’…¿¡«»„‹›،؛؟۔।॥、。，．！？：；「」『』（）【】《》"


class GopherQualityConfig(Config):
    """Configuration of ``gopher-quality``: the paper's thresholds; a document at a threshold is kept."""

    min_words: int = Field(50, ge=0)
    """Fewest words, parted by white space; in scripts without blanks between words (Han, kana, Thai, Lao, Khmer, Burmese) each
    letter counts as one."""
    max_words: int = Field(100_000, ge=1)
    """Most words."""
    min_mean_word_length: float = Field(3, ge=0)
    """Least mean length of a word, in characters, where most words are parted by blanks; chosen for English, 0 leaves it out."""
    max_mean_word_length: float = Field(10, gt=0)
    """Greatest mean length of a word, in characters, where most words are parted by blanks; chosen for English."""
    max_hash_ratio: float = Field(0.1, ge=0)
    """Most hash signs per word."""
    max_ellipsis_ratio: float = Field(0.1, ge=0)
    """Most ellipses per word."""
    max_bullet_lines: float = Field(0.9, ge=0, le=1)
    """Greatest share of lines, blank ones aside, that begin with a bullet point: a sign such as •, or - or * before a blank."""
    max_ellipsis_lines: float = Field(0.3, ge=0, le=1)
    """Greatest share of lines, blank ones aside, that end with an ellipsis."""
    min_alphabetic_words: float = Field(0.8, ge=0, le=1)
    """Least share of words with an alphabetic character in them."""
    min_stop_words: int = Field(2, ge=0)
    """Fewest different stop words that occur; 0 leaves the rule out."""
    stop_words: tuple[str, ...] = STOP_WORDS
    """The stop words. The default is for English alone and rejects all other text: set others, or ``min_stop_words: 0``."""


class GopherQuality(Filter[GopherQualityConfig]):
    """The quality filter of MassiveText (Rae et al. 2021, https://arxiv.org/abs/2112.11446, appendix A.1.1)."""

    name = "gopher-quality"
    Config = GopherQualityConfig

    def reject(self, document: Document) -> str | None:
        """The first rule that the document breaks, under the name of its threshold."""
        text = unicodedata.normalize("NFC", document.text)
        words = tokens(text)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        rules = (
            self._by_words(words, [word for word in words if not has_no_blanks(word)] if has_no_blanks(text) else words),
            self._by_symbols(text, len(words)),
            self._by_lines(lines),
            self._by_language(text, words),
        )
        return next((rule for found in rules for rule, broken in found if broken), None)

    def _by_words(self, words: list[str], spaced: list[str]) -> Iterator[tuple[str, bool]]:
        yield "min_words", len(words) < self.config.min_words
        yield "max_words", len(words) > self.config.max_words
        if 2 * len(spaced) >= len(words):  # elsewhere a word is a letter
            length = sum(map(len, spaced)) / max(len(spaced), 1)
            yield "min_mean_word_length", length < self.config.min_mean_word_length
            yield "max_mean_word_length", length > self.config.max_mean_word_length

    def _by_symbols(self, text: str, words: int) -> Iterator[tuple[str, bool]]:
        yield "max_hash_ratio", text.count("#") > self.config.max_hash_ratio * words
        ellipses = text.count("...") if text.isascii() else len(_ELLIPSIS.findall(text))
        yield "max_ellipsis_ratio", ellipses > self.config.max_ellipsis_ratio * words

    def _by_lines(self, lines: list[str]) -> Iterator[tuple[str, bool]]:
        bullets = sum(_BULLET.match(line) is not None for line in lines)
        yield "max_bullet_lines", bullets > self.config.max_bullet_lines * len(lines)
        ellipses = sum(line.endswith(_ELLIPSES) for line in lines)
        yield "max_ellipsis_lines", ellipses > self.config.max_ellipsis_lines * len(lines)

    def _by_language(self, text: str, words: list[str]) -> Iterator[tuple[str, bool]]:
        alphabetic = sum(any(map(str.isalpha, word)) for word in words)
        yield "min_alphabetic_words", alphabetic < self.config.min_alphabetic_words * len(words)
        known = set(map(folded, self.config.stop_words))
        low = folded(text)
        present = known.intersection(word.strip(_PUNCTUATION) for word in low.split())
        present |= {word for word in known if has_no_blanks(word) and word in low}
        yield "min_stop_words", len(present) < self.config.min_stop_words


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """Offer the plugin."""
    return [GopherQuality]
