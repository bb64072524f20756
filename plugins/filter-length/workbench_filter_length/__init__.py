"""Filter ``length``: bounds on a document's characters and words."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from workbench import hookimpl
from workbench.artifacts.corpus import Document
from workbench.artifacts.words import tokens
from workbench.kinds.filter import Filter
from workbench.plugin import Config, Plugin


class LengthConfig(Config):
    """Configuration of ``length``; a document at a bound is kept."""

    min_characters: int = Field(1, ge=0)
    """Fewest characters."""
    max_characters: int | None = Field(None, ge=1)
    """Most characters; null for no bound."""
    min_words: int = Field(0, ge=0)
    """Fewest words, parted by white space; in scripts without blanks between words (Han, kana, Thai, Lao, Khmer, Burmese) each
    letter counts as one."""
    max_words: int | None = Field(None, ge=1)
    """Most words, counted so; null for no bound."""

    @model_validator(mode="after")
    def _bounds_leave_room(self) -> Self:
        for unit, low, high in (
            ("characters", self.min_characters, self.max_characters),
            ("words", self.min_words, self.max_words),
        ):
            if high is not None and low > high:
                raise ValueError(f"min_{unit} {low} is above max_{unit} {high}")
        return self


class Length(Filter[LengthConfig]):
    """Length bounds, as every web corpus has them (C4, Raffel et al. 2020, https://arxiv.org/abs/1910.10683)."""

    name = "length"
    Config = LengthConfig

    def reject(self, document: Document) -> str | None:
        """The bound that the document breaks."""
        config, characters = self.config, len(document.text)
        if characters < config.min_characters:
            return "min_characters"
        if config.max_characters is not None and characters > config.max_characters:
            return "max_characters"
        words = len(tokens(document.text))
        if words < config.min_words:
            return "min_words"
        if config.max_words is not None and words > config.max_words:
            return "max_words"
        return None


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """Offer the plugin."""
    return [Length]
