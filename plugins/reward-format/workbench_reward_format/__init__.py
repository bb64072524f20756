"""Reward for the shape of an answer: a regular expression and bounds on the length."""

from __future__ import annotations

from typing import Any

import regex
from pydantic import Field, field_validator, model_validator

from workbench import hookimpl
from workbench.errors import ParamsError
from workbench.kinds.reward import Reward
from workbench.plugin import Config, Plugin

SECONDS = 10.0
"""For one text. Nested repetitions such as ``(a|aa)+`` may take longer than any training; the pattern is then refused."""


class FormatConfig(Config):
    """Configuration of the plugin ``format``."""

    pattern: str | None = None
    r"""Regular expression that the whole text must match, such as ``-?\d+``; a full stop matches line ends too. Null: any."""
    min_characters: int = Field(1, ge=0)
    """Shorter texts have the wrong shape."""
    max_characters: int = Field(2_000, ge=1, le=100_000)
    """Longer texts have the wrong shape, and are not matched."""
    right: float = Field(1.0, allow_inf_nan=False)
    """Reward of the right shape."""
    wrong: float = Field(0.0, allow_inf_nan=False)
    """Reward of a wrong shape; below zero it is a penalty."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            regex.compile(pattern or "")
        except regex.error as error:
            raise ValueError(f"no regular expression: {error}") from error
        return pattern

    @model_validator(mode="after")
    def _in_order(self) -> FormatConfig:
        if self.min_characters > self.max_characters:
            raise ValueError(f"min_characters ({self.min_characters}) is greater than max_characters ({self.max_characters})")
        return self


class Format(Reward[FormatConfig]):
    """Rewards the shape of an answer, whatever it says (DeepSeek-AI 2025, https://arxiv.org/abs/2501.12948, section 2.2.2)."""

    name = "format"
    Config = FormatConfig

    def score(self, completion: str, answer: str) -> float:
        """``right`` if the length is in bounds and the pattern matches, else ``wrong``; the right answer is not looked at.

        Raises:
            ParamsError: the pattern takes for ever on this text.
        """
        fits = self.config.min_characters <= len(completion) <= self.config.max_characters
        if fits and self.config.pattern is not None:
            fits = self._matches(self.config.pattern, completion)
        return self.config.right if fits else self.config.wrong

    def _matches(self, pattern: str, text: str) -> bool:
        try:
            return regex.fullmatch(pattern, text, regex.DOTALL, timeout=SECONDS) is not None
        except TimeoutError as error:
            what = f"the pattern {pattern!r} is not done with a text of {len(text)} characters after {SECONDS:g} s"
            fix = "write it without a repetition inside a repetition, or lower max_characters"
            raise ParamsError(what, f"reward {self.name!r}, key pattern; text {text[:80]!r}", fix) from error


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """Offer the plugin."""
    return [Format]
