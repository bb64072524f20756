"""Filter ``gopher-quality``: the quality rules of MassiveText."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from workbench import hookimpl
from workbench.artifacts.corpus import Document
from workbench.kinds.filter import Filter
from workbench.plugin import Config, Plugin

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
_BULLETS = ("•", "‣", "▪", "◦", "●", "-", "*")
_ELLIPSES = ("...", "…")
_PUNCTUATION = ".,;:!?\"'`()[]{}<>*_“”‘’…"


class GopherQualityConfig(Config):
    """Configuration of ``gopher-quality``: the paper's thresholds; a document at a threshold is kept."""

    min_words: int = Field(50, ge=0)
    """Fewest words, parted by white space."""
    max_words: int = Field(100_000, ge=1)
    """Most words."""
    min_mean_word_length: float = Field(3, ge=0)
    """Least mean length of a word, in characters."""
    max_mean_word_length: float = Field(10, gt=0)
    """Greatest mean length of a word, in characters."""
    max_hash_ratio: float = Field(0.1, ge=0)
    """Most hash signs per word."""
    max_ellipsis_ratio: float = Field(0.1, ge=0)
    """Most ellipses per word."""
    max_bullet_lines: float = Field(0.9, ge=0, le=1)
    """Greatest share of lines, blank ones aside, that begin with a bullet point."""
    max_ellipsis_lines: float = Field(0.3, ge=0, le=1)
    """Greatest share of lines, blank ones aside, that end with an ellipsis."""
    min_alphabetic_words: float = Field(0.8, ge=0, le=1)
    """Least share of words with an alphabetic character in them."""
    min_stop_words: int = Field(2, ge=0)
    """Fewest different stop words that occur."""
    stop_words: tuple[str, ...] = STOP_WORDS
    """The stop words, in lower case; set them for other languages than English."""


class GopherQuality(Filter[GopherQualityConfig]):
    """The quality filter of MassiveText (Rae et al. 2021, https://arxiv.org/abs/2112.11446, appendix A.1.1)."""

    name = "gopher-quality"
    Config = GopherQualityConfig

    def reject(self, document: Document) -> str | None:
        """The first rule that the document breaks, under the name of its threshold."""
        words = document.text.split()
        lines = [line.strip() for line in document.text.splitlines() if line.strip()]
        rules = (
            self._by_words(words),
            self._by_symbols(document.text, len(words)),
            self._by_lines(lines),
            self._by_language(words),
        )
        return next((rule for found in rules for rule, broken in found if broken), None)

    def _by_words(self, words: list[str]) -> Iterator[tuple[str, bool]]:
        yield "min_words", len(words) < self.config.min_words
        yield "max_words", len(words) > self.config.max_words
        length = sum(map(len, words)) / max(len(words), 1)
        yield "min_mean_word_length", length < self.config.min_mean_word_length
        yield "max_mean_word_length", length > self.config.max_mean_word_length

    def _by_symbols(self, text: str, words: int) -> Iterator[tuple[str, bool]]:
        yield "max_hash_ratio", text.count("#") > self.config.max_hash_ratio * words
        yield "max_ellipsis_ratio", sum(map(text.count, _ELLIPSES)) > self.config.max_ellipsis_ratio * words

    def _by_lines(self, lines: list[str]) -> Iterator[tuple[str, bool]]:
        bullets = sum(line.startswith(_BULLETS) for line in lines)
        yield "max_bullet_lines", bullets > self.config.max_bullet_lines * len(lines)
        ellipses = sum(line.endswith(_ELLIPSES) for line in lines)
        yield "max_ellipsis_lines", ellipses > self.config.max_ellipsis_lines * len(lines)

    def _by_language(self, words: list[str]) -> Iterator[tuple[str, bool]]:
        alphabetic = sum(any(map(str.isalpha, word)) for word in words)
        yield "min_alphabetic_words", alphabetic < self.config.min_alphabetic_words * len(words)
        known = set(self.config.stop_words)
        present = known.intersection(word.strip(_PUNCTUATION).lower() for word in words)
        yield "min_stop_words", len(present) < self.config.min_stop_words


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """Offer the plugin."""
    return [GopherQuality]
