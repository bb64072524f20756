"""Reward plugins as TRL calls them, and the accuracy that a verifier finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.errors import ArtifactError
from workbench.kinds.reward import Reward


@dataclass(frozen=True)
class Judge:
    """One reward plugin, for a batch of answers.

    A verifier scores the problems that name it; a reward that no problem names, such as one for the shape, scores all.
    """

    reward: Reward[Any]
    is_verifier: bool

    @property
    def __name__(self) -> str:  # what TRL calls the reward in its log
        return self.reward.name

    def __call__(
        self, *, completions: Sequence[Any], answer: Sequence[str], verifier: Sequence[str], **_: object
    ) -> list[float | None]:
        """One reward per answer; None where it does not apply."""
        rows = zip(completions, answer, verifier, strict=True)
        return [
            self.reward.score(completion[0]["content"], right) if self._applies_to(name) else None
            for completion, right, name in rows
        ]

    def _applies_to(self, verifier: str) -> bool:
        return not self.is_verifier or verifier == self.reward.name


def judges(rewards: Sequence[Reward[Any]], problems: Sequence[Mapping[str, Any]], where: str) -> list[Judge]:
    """The rewards as TRL calls them, in their order.

    Raises:
        ArtifactError: a problem names a verifier that is not among the rewards.
    """
    verifiers = {str(row["verifier"]) for row in problems}
    missing = sorted(verifiers - {reward.name for reward in rewards})
    if missing:
        raise ArtifactError(
            f"problems name the verifier {missing[0]!r}, which is not among the rewards",
            where,
            f"add `- use: {missing[0]}` under `rewards:`",
        )
    return [Judge(reward, reward.name in verifiers) for reward in rewards]


def verify(rewards: Sequence[Reward[Any]], problems: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> list[float]:
    """The score of each answer by the verifier that its problem names."""
    by_name = {reward.name: reward for reward in rewards}
    return [by_name[row["verifier"]].score(text, row["answer"]) for row, text in zip(problems, texts, strict=True)]
