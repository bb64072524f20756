"""The rows that a training on a model's own answers goes through."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def draw(rows: Sequence[Row], number: int, seed: int) -> list[Row]:
    """That many rows, in seeded order: all of them once, then all again in another order, and so on.

    One list for the whole training, since TRL's ``RepeatSampler`` (1.16) forgets the order of later epochs when it resumes.

    Raises:
        ValueError: there is no row to draw.
    """
    if not rows:
        raise ValueError("there is no row to draw")
    drawing = random.Random(seed)
    drawn: list[Row] = []
    while len(drawn) < number:
        drawn += drawing.sample(rows, len(rows))
    return drawn[:number]
