"""How often Python's collector of garbage looks at everything there is."""

from __future__ import annotations

import gc

GENERATION_1_COLLECTIONS = 100
"""Collections of the middle generation before one of all; Python's own choice is 10."""


def collect_all_less_often() -> None:
    """Spare a process that imports torch or MLflow most of its full collections.

    Such an import makes a million objects that stay. Python looks at all of them some seven times while they come, which is a
    sixth of what the import costs. What dies young is still found as soon as ever.
    """
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, GENERATION_1_COLLECTIONS)
