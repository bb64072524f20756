"""Kind ``reward``: scores a generated answer to a problem."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, ClassVar

from workbench.errors import ArtifactError, PluginError, WorkbenchError
from workbench.plugin import C, Plugin

EXCERPT = 200
"""Characters of a text that an error shows."""


class Reward(Plugin[C], ABC):
    """A verifiable reward; a problem names it in its column ``verifier``. A verifier gives 1 for the right answer."""

    kind: ClassVar[str] = "reward"

    @abstractmethod
    def score(self, completion: str, answer: str) -> float:
        """Return the reward of a completion, where ``answer`` is the problem's right answer.

        The completion is whatever a model may write, also nothing; the reward is a finite number.
        """

    def right_completion(self, answer: str) -> str:
        """A completion that gives the right answer, by which every problem is checked; override it where form counts too."""
        return answer


def score(reward: Reward[Any], completion: str, answer: str) -> float:
    """The reward of a completion, held to the contract.

    Raises:
        PluginError: the plugin raised an error or gave no finite number; says on which texts.
        WorkbenchError: the plugin's own, such as one about its configuration.
    """
    try:
        value = reward.score(completion, answer)
    except WorkbenchError:
        raise
    except Exception as error:
        what = f"reward {reward.name!r} raised {type(error).__name__}: {error}"
        raise PluginError(what, _texts(completion, answer), _mend(reward)) from error
    if not isinstance(value, Real) or not math.isfinite(value):
        what = f"reward {reward.name!r} gave {value!r}, which is no finite number"
        raise PluginError(what, _texts(completion, answer), _mend(reward))
    return float(value)


def require_right_answers(rewards: Sequence[Reward[Any]], problems: Iterable[Mapping[str, Any]], key: str, where: str) -> None:
    """Refuse problems whose right answer is wrong for their own verifier, so that no model could ever be right.

    Args:
        rewards: the verifiers, among others.
        problems: rows with ``id``, ``answer`` and ``verifier``.
        key: of params.yaml, under which the rewards are listed.
        where: the problems' place, for the error.

    Raises:
        ArtifactError: names the first such problem and their number, or a verifier that is not among the rewards.
    """
    by_name = {reward.name: reward for reward in rewards}
    total, wrong = 0, []
    for row in problems:
        total += 1
        if (name := str(row["verifier"])) not in by_name:
            what = f"problems name the verifier {name!r}, which is not among the rewards under `{key}:`"
            raise ArtifactError(what, where, f"add `- use: {name}` under `{key}:`")
        reward, answer = by_name[name], str(row["answer"])
        if (given := score(reward, reward.right_completion(answer), answer)) != 1:
            wrong.append((row, reward, given))
    if wrong:
        row, reward, given = wrong[0]
        raise ArtifactError(
            f"verifier {reward.name!r} gives {len(wrong)} of {total} right answers another score than 1 when it is asked about "
            f"themselves; the first, {str(row['answer'])[:EXCERPT]!r}, gets {given:g}",
            f"{where}, row {row.get('id', 'without id')}",
            f"mend the answers, or set `with:` of `use: {reward.name}` under `{key}:` so that it reads them",
        )


def _texts(completion: str, answer: str) -> str:
    return f"completion {completion[:EXCERPT]!r}, right answer {answer[:EXCERPT]!r}"


def _mend(reward: Reward[Any]) -> str:
    return f"mend `score` of {type(reward).__module__}.{type(reward).__qualname__}: any text gets a finite number"
