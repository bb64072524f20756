"""Reward plugins as TRL calls them, and the accuracy that a verifier finds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.kinds.reward import Reward, require_right_answers, score

CUT = 0.0
"""What a verifier gives an answer that ``max_tokens`` has cut: nobody knows how it would have ended."""


@dataclass(frozen=True)
class Judge:
    """One reward plugin, for a batch of answers.

    A verifier scores the problems that name it, and gives an answer that was cut :data:`CUT`. A reward that no problem names,
    such as one for the shape, scores all, as they stand.
    """

    reward: Reward[Any]
    is_verifier: bool
    ends: frozenset[int]
    """Ids of the tokens that end an answer; one whose last token is another was cut."""
    group_size: int
    """Answers to one problem, which follow one another."""

    @property
    def __name__(self) -> str:  # what TRL calls the reward in its log
        return self.reward.name

    def __call__(
        self,
        *,
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        answer: Sequence[str],
        verifier: Sequence[str],
        log_metric: Callable[[str, float], None],
        **_: object,
    ) -> list[float | None]:
        """One reward per answer; None where it does not apply. Logs the share of the groups whose rewards differ.

        Raises:
            PluginError: the plugin gave no finite number, or raised an error.
        """
        rows = zip(completions, completion_ids, answer, verifier, strict=True)
        given = [self._score(completion[0]["content"], ids, right, name) for completion, ids, right, name in rows]
        groups = [set(given[start : start + self.group_size]) for start in range(0, len(given), self.group_size)]
        log_metric(differing(self.reward.name), sum(len(group) > 1 for group in groups) / len(groups))
        return given

    def _score(self, completion: str, ids: Sequence[int], answer: str, verifier: str) -> float | None:
        if not self.is_verifier:
            return score(self.reward, completion, answer)
        if verifier != self.reward.name:
            return None
        return score(self.reward, completion, answer) if ids[-1] in self.ends else CUT


def differing(reward: str) -> str:
    """The log's name for the share of groups whose rewards by that plugin differ; from the others nothing is learnt."""
    return f"rewards/{reward}/differing_groups"


def require_verifiers(rewards: Sequence[Reward[Any]], problems: Sequence[Mapping[str, Any]], where: str) -> frozenset[str]:
    """The names of the rewards that problems name as their verifier.

    Raises:
        ArtifactError: a problem names a verifier that is not among the rewards, or one for which its right answer is wrong.
    """
    require_right_answers(rewards, problems, "rewards", where)
    return frozenset(str(row["verifier"]) for row in problems)


def verify(
    rewards: Sequence[Reward[Any]], problems: Sequence[Mapping[str, Any]], texts: Sequence[str], cut: Sequence[bool]
) -> list[float]:
    """The score of each answer by the verifier that its problem names, :data:`CUT` where it was cut."""
    by_name = {reward.name: reward for reward in rewards}
    return [
        CUT if was_cut else score(by_name[row["verifier"]], text, row["answer"])
        for row, text, was_cut in zip(problems, texts, cut, strict=True)
    ]
