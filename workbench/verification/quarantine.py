"""Where damaged files go: out of the way of everything that would read them, and never deleted."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

FOLDER = Path(".workbench/quarantine")
"""Relative to the workspace."""


class Quarantine:
    """A folder for the damaged files found by one check of a workspace; created when the first file goes into it.

    .workbench/quarantine/TIME/workspace/data/models/base/model.safetensors
    .workbench/quarantine/TIME/cache/files/md5/ab/cdef…
    """

    def __init__(self, root: Path, cache: Path) -> None:
        self.folder = root / FOLDER / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}"
        self._places = {"workspace": root, "cache": cache}

    def take(self, path: Path) -> Path:
        """Move a file, link or folder of the workspace or of DVC's cache here; returns the new path.

        Raises:
            OSError: it cannot be moved, and stays in place.
        """
        # By default the cache lies below the workspace, and then it is the closer parent.
        inside = {name: place for name, place in self._places.items() if path.is_relative_to(place)}
        name = max(inside, key=lambda name: len(inside[name].parts))
        target = self.folder / name / path.relative_to(inside[name])
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)
        return target
