"""Reward for the shape of an answer: a regular expression and bounds on the length."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field, field_validator, model_validator

from workbench import hookimpl
from workbench.kinds.reward import Reward
from workbench.plugin import Config, Plugin


class FormatConfig(Config):
    """Configuration of the plugin ``format``."""

    pattern: str | None = None
    r"""Regular expression that the whole text must match, such as ``-?\d+``; a full stop matches line ends too. Null: any."""
    min_characters: int = Field(1, ge=0)
    """Shorter texts have the wrong shape."""
    max_characters: int = Field(2_000, ge=1, le=100_000)
    """Longer texts have the wrong shape; they are not matched, so that no pattern takes long."""
    right: float = Field(1.0, allow_inf_nan=False)
    """Reward of the right shape."""
    wrong: float = Field(0.0, allow_inf_nan=False)
    """Reward of a wrong shape; below zero it is a penalty."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
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
        """``right`` if the length is in bounds and the pattern matches, else ``wrong``; the right answer is not looked at."""
        fits = self.config.min_characters <= len(completion) <= self.config.max_characters
        if fits and self.config.pattern is not None:
            fits = re.fullmatch(self.config.pattern, completion, re.DOTALL) is not None
        return self.config.right if fits else self.config.wrong


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """Offer the plugin."""
    return [Format]
