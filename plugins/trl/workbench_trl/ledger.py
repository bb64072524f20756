"""What becomes of each row between the data and the gradient: counted, shown, and refused where too many are lost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from workbench.errors import ArtifactError
from workbench.run import Run

Fate = Literal["too long", "alike", "weightless", "unanswered", "endless", "cut"]
LEFT_OUT: Mapping[Fate, str] = {
    "too long": "left out: nothing to learn is within max_length",
    "alike": "left out: the answers differ only beyond max_length",
    "weightless": "left out: every answer has weight 0",
    "unanswered": "left out: no turn is the assistant's",
}
CUT: Mapping[Fate, str] = {
    "endless": "cut at max_length: an answer loses its end token",
    "cut": "cut at max_length: later turns are not learnt",
}
SHOWN = 100
"""Rows in the table of what was lost."""


@dataclass
class Ledger:
    """The rows that a training draws from its data, in their order."""

    unit: str
    """What a row is, in the plural: the name of the metric that counts those that are trained on."""
    max_length: int
    max_cut_share: float
    drawn: list[int] = field(default_factory=list)
    """Tokens of each row, whole."""
    fates: Counter[Fate] = field(default_factory=Counter)
    with_special_tokens: int = 0
    lost: list[dict[str, str | int]] = field(default_factory=list)

    def enter(self, identity: str, tokens: int, fate: Fate | None, *, special_tokens: bool) -> bool:
        """Record a row; returns whether it is trained on."""
        self.drawn.append(tokens)
        self.with_special_tokens += special_tokens
        if fate is None:
            return True
        self.fates[fate] += 1
        if len(self.lost) < SHOWN:
            self.lost.append({"id": identity, "what": {**LEFT_OUT, **CUT}[fate], "tokens": tokens, "max_length": self.max_length})
        return fate not in LEFT_OUT

    def close(self, run: Run, data: str, window: int | None) -> None:
        """Report the counts, and refuse what trains on too little of the data.

        Args:
            run: the stage's.
            data: what the rows are from, for the message.
            window: tokens that the model can read at most, None for no limit.

        Raises:
            ArtifactError: nothing is left, or ``max_length`` cuts or leaves out more than ``max_cut_share`` of the rows.
        """
        left_out = sum(self.fates[fate] for fate in LEFT_OUT)
        run.metric(f"{self.unit}_drawn", len(self.drawn))
        run.metric(self.unit, len(self.drawn) - left_out)
        run.metric(f"{self.unit}_left_out", left_out)
        run.metric(f"{self.unit}_cut", sum(self.fates[fate] for fate in CUT))
        run.metric("answers_without_end", self.fates["endless"])
        run.metric(f"{self.unit}_with_special_tokens", self.with_special_tokens)
        if self.lost:
            run.table("cut-or-left-out", f"{self.unit.capitalize()} that are cut or left out, the first of them", self.lost)
        lengthy = self.fates.total() - self.fates["weightless"] - self.fates["unanswered"]
        share = lengthy / len(self.drawn) if self.drawn else 0.0
        if left_out == len(self.drawn):
            remedy = self._remedy(0.0, window) if lengthy else "give some answers a weight, or add rows"
            raise ArtifactError(f"none of {len(self.drawn)} {self.unit} can be learnt from{self._reasons()}", data, remedy)
        if share > self.max_cut_share:
            accepted = math.ceil(share * 100) / 100
            raise ArtifactError(
                f"max_length {self.max_length} cuts or leaves out {lengthy} of {len(self.drawn)} {self.unit}, more than "
                f"max_cut_share {self.max_cut_share:g}{self._reasons()}",
                f"params.yaml, stage {run.stage}, key max_length; {data}",
                f"{self._remedy(self.max_cut_share, window)}, or accept it by max_cut_share: {accepted:g}",
            )

    def _reasons(self) -> str:
        counts = [f"{self.fates[fate]} {what}" for fate, what in {**LEFT_OUT, **CUT}.items() if self.fates[fate]]
        return f" ({'; '.join(counts)})" if counts else ""

    def _remedy(self, share: float, window: int | None) -> str:
        """The length at which no more than that share is lost, if the model can read it."""
        longest_first = sorted(self.drawn, reverse=True)
        needed = longest_first[min(int(share * len(self.drawn)), len(self.drawn) - 1)]
        if window is None or needed <= window:
            return f"raise max_length to {needed} (the longest has {longest_first[0]} tokens)"
        return (
            f"shorten or take out rows of more than {window} tokens, the model's window, and raise max_length to it, "
            f"or pretrain with a context_length of {needed}"
        )
