"""How often Python's garbage collector runs a full collection."""

from __future__ import annotations

import gc

THRESHOLD_2 = 100
"""Middle-generation collections per full collection, as in :func:`gc.set_threshold`; Python's default is 10."""


def collect_all_less_often() -> None:
    """Avoid most full collections in a process that imports torch or MLflow.

    Objects created by such an import stay. Python scans them all seven times during the import: 1.1 of the 7.4 s of CPU time that
    torch, transformers and datasets take. Short-lived garbage is still collected as early as before.
    """
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, THRESHOLD_2)
