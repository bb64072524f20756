"""Whether a reward model ranks held-out pairs better than a coin would."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from workbench.errors import TrainingError


def probability(rightly: int, prompts: int) -> float:
    """How likely a coin is to rank at least so many prompts rightly: the one-sided sign test."""
    return sum(math.comb(prompts, number) for number in range(rightly, prompts + 1)) / (1 << prompts)


def require_better(rows: Sequence[Mapping[str, Any]], margins: Sequence[float], certainty: float, stage: str) -> None:
    """Refuse a reward model that held-out pairs can't tell from chance.

    Args:
        rows: held-out preferences; those of one prompt are not independent, and count once, by their majority.
        margins: how much higher the reward of each row's chosen answer is than that of the rejected one.
        certainty: one minus the probability below which chance is ruled out.
        stage: for the error.

    Raises:
        TrainingError: says how many it ranks rightly, and what to change.
    """
    by_prompt: dict[str, int] = defaultdict(int)
    for row, margin in zip(rows, margins, strict=True):
        by_prompt[str(row["prompt"])] += (margin > 0) - (margin < 0)
    decided = [votes for votes in by_prompt.values() if votes]
    rightly = sum(votes > 0 for votes in decided)
    chance = probability(rightly, len(decided))
    if certainty and not (all(map(math.isfinite, margins)) and chance <= 1 - certainty):
        raise TrainingError(
            f"the reward model is not told from chance: it ranks {rightly} of {len(decided)} held-out prompts rightly, a coin "
            f"does so with a probability of {chance:.2g}, over 1 - reward_model.certainty = {1 - certainty:.2g}",
            f"stage {stage}",
            "give it more steps, a higher learning rate or more and clearer preferences, or hold more of them out "
            "(five prompts at least); `reward_model.certainty: 0` goes on with any",
        )
