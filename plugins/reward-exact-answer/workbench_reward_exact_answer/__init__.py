"""Reward for the right answer: equal after normalisation, as numbers where both are numbers."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from typing import Any, Literal

from pydantic import Field

from workbench import hookimpl
from workbench.kinds.reward import Reward
from workbench.plugin import Config, Plugin

LONGEST_NUMBER = 1_000
"""Characters. A longer one is compared as text: a model may write millions of digits."""
NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?", re.ASCII)
DASHES = dict.fromkeys(map(ord, "‐‑‒–—−"), "-")


class ExactAnswerConfig(Config):
    """Configuration of the plugin ``exact-answer``."""

    part: Literal["whole", "last-number", "after-marker"] = "whole"
    """What of the text is the answer: all of it, its last number, or what follows the last marker."""
    marker: str = Field("####", min_length=1)
    """Read by ``after-marker`` alone; ``####`` is that of GSM8K (Cobbe et al. 2021)."""


class ExactAnswer(Reward[ExactAnswerConfig]):
    """1 for the right answer and 0 for any other, the verifiable reward of Lambert et al. 2024, https://arxiv.org/abs/2411.15124.

    Numbers are compared by value, so ``1,000``, ``1000.0`` and ``+1000`` agree; other texts without regard to case, white
    space and a full stop at the end.
    """

    name = "exact-answer"
    Config = ExactAnswerConfig

    def score(self, completion: str, answer: str) -> float:
        """1.0 if the completion holds the answer, else 0.0."""
        given = self._answer_in(_plain(completion))
        return float(given is not None and _value(given) == _value(_plain(answer)))

    def _answer_in(self, text: str) -> str | None:
        if self.config.part == "last-number":
            numbers = NUMBER.findall(text)
            return numbers[-1] if numbers else None
        if self.config.part == "after-marker":
            _, marker, after = text.rpartition(_plain(self.config.marker))
            return after if marker else None
        return text


def _plain(text: str) -> str:
    """One form of what is written in many: accents, dashes, case and white space. Not NFKC, by which 4² is 42."""
    return " ".join(unicodedata.normalize("NFC", text).translate(DASHES).casefold().split())


def _value(text: str) -> Fraction | str:
    """The number that a text is, or else the text."""
    stripped = text.strip().removesuffix(".").rstrip()
    if len(stripped) > LONGEST_NUMBER or not NUMBER.fullmatch(stripped):
        return stripped
    try:
        return Fraction(stripped.replace(",", ""))
    except ZeroDivisionError:
        return stripped


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """Offer the plugin."""
    return [ExactAnswer]
