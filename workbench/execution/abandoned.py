"""Checkpoints of runs that were killed and never went on: no later run is the same, so nobody will use them.

They are kept for a time, since `dvc repro` with the former params.yaml goes on from them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workbench.artifacts import digests
from workbench.execution import output_locks
from workbench.lib.commit import remove
from workbench.lib.layout import STATE_FOLDER

KEPT_DAYS = 30
"""After the last write, an abandoned run's checkpoints are removed by the next `workbench resolve`."""
_DAY = 86_400


@dataclass(frozen=True)
class Abandoned:
    """The checkpoints of one run that nobody makes now."""

    folder: Path
    size: int
    """Bytes."""
    days: float
    """Since the last write."""


def found(main: Path) -> Iterator[Abandoned]:
    """The abandoned checkpoints of a workspace and of the temporary ones that belong to it."""
    for folder in sorted((main / STATE_FOLDER / "checkpoints").glob("*/")):
        if output_locks.is_being_made(main, folder.name):
            continue
        newest = max(path.stat().st_mtime for path in [folder, *folder.rglob("*")])
        yield Abandoned(folder, digests.size_of(folder), max(0.0, time.time() - newest) / _DAY)


def remove_old(main: Path) -> list[Abandoned]:
    """Remove those that have lain for longer than KEPT_DAYS; returns them."""
    old = [item for item in found(main) if item.days > KEPT_DAYS]
    for item in old:
        with output_locks.only_maker(main, item.folder.name, lambda _: None):
            remove(item.folder)
    return old
