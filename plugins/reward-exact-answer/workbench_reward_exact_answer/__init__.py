"""Reward for the right answer: equal as written by people, as numbers where both are numbers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from workbench import hookimpl
from workbench.kinds.reward import Reward
from workbench.plugin import Config, Plugin
from workbench_reward_exact_answer.written import Answer, last_number, plain, read, read_start


class ExactAnswerConfig(Config):
    """Configuration of the plugin ``exact-answer``."""

    part: Literal["whole", "last-number", "after-marker"] = "whole"
    """What of a text is the answer, in what a model writes and in the right answer: all of it, its last number, or what follows
    the last marker in its line. A right answer of one line needs no marker."""
    marker: str = Field("####", min_length=1)
    """Read by ``after-marker`` alone; ``####`` is that of GSM8K (Cobbe et al. 2021)."""

    @field_validator("marker")
    @classmethod
    def _can_be_found(cls, marker: str) -> str:
        if not marker.strip() or len(marker.splitlines()) > 1:
            raise ValueError("the marker is blank or has several lines, so no line would hold it")
        return marker


class ExactAnswer(Reward[ExactAnswerConfig]):
    """1 for the right answer and 0 for any other, the verifiable reward of Lambert et al. 2024, https://arxiv.org/abs/2411.15124.

    Numbers are compared by value, however people write them: ``1,000``, ``1 000``, ``1e3``, ``$1000`` and ``1000.0`` agree, and
    ``1000 apples`` agrees with ``1000``. Other texts are compared without regard to case, white space, markup around them and
    a full stop at the end.
    """

    name = "exact-answer"
    Config = ExactAnswerConfig

    def score(self, completion: str, answer: str) -> float:
        """1.0 if the completion holds the answer, else 0.0."""
        given, right = self._answer_in(completion), self._right(answer)
        return float(given is not None and right is not None and given.agrees_with(right))

    def right_completion(self, answer: str) -> str:
        """The answer, behind the marker where one is looked for."""
        if self.config.part != "after-marker" or plain(self.config.marker) in plain(answer):
            return answer
        return f"{self.config.marker} {answer}"

    def _right(self, answer: str) -> Answer | None:
        """None if it lacks the marker and has several lines: nobody knows which of them is the answer."""
        completion = self.right_completion(answer)
        if completion != answer and len(answer.strip().splitlines()) > 1:
            return None
        return self._answer_in(completion)

    def _answer_in(self, text: str) -> Answer | None:
        if self.config.part == "last-number":
            return last_number(plain(text))
        if self.config.part == "after-marker":
            return self._after_marker([plain(line) for line in text.splitlines()])
        return read(plain(text))

    def _after_marker(self, lines: list[str]) -> Answer | None:
        """From the last line with the marker, or from the next where the marker ends its own."""
        marker = plain(self.config.marker)
        marked = [place for place, line in enumerate(lines) if marker in line]
        if not marked:
            return None
        after = [lines[marked[-1]].rpartition(marker)[2], *lines[marked[-1] + 1 :]]
        return read_start(next((line.strip() for line in after if line.strip()), ""))


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """Offer the plugin."""
    return [ExactAnswer]
