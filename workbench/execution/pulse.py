"""The pulse of a stage's process: a file that tells its guard which run it is, that it is alive, and how it ended.

    .workbench/journal/SESSION/_GUARD.pulse     GUARD is the process id of the guard, which removes the file at the end

Its modification time is the last sign of life. The interpreter writes the stacks of all threads into it when the process crashes.
"""

from __future__ import annotations

import faulthandler
import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.tracking.session import folder_of

BEAT_SECONDS = 1.0
"""Minimum time between two signs of life."""


class Pulse:
    """The pulse as the stage's process writes it."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.begun = False
        """Whether the run has begun, so that it has a journal."""
        self._file = file.open("ab", buffering=0)
        self._last = time.monotonic()
        faulthandler.enable(file=self._file, all_threads=True)

    def begin(self, run: str, fingerprint: str, plugins: str) -> None:
        """Report which run this is, and whose code runs."""
        self.begun = True
        self._tell({"run": run, "fingerprint": fingerprint, "plugins": plugins})

    def beat(self) -> None:
        """Give a sign of life; cheap enough to call for every document."""
        now = time.monotonic()
        if now - self._last >= BEAT_SECONDS:
            self._last = now
            with suppress(OSError):  # not a reason to end training
                os.utime(self._file.fileno())

    def end(self, code: int) -> None:
        """Report that the record of the run is complete, and its exit code."""
        self._tell({"code": code})

    def _tell(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record).encode() + b"\n")


@dataclass(frozen=True)
class Told:
    """The content of the file."""

    run: str = ""
    """Empty until the run has begun."""
    fingerprint: str = ""
    plugins: str = ""
    code: int | None = None
    """None until the run has ended."""
    traceback: str = ""
    """Stacks of all threads at a crash."""


def path(root: Path, session: str, guard: int) -> Path:
    """The path of the pulse of a guard's stage."""
    return folder_of(root, session) / f"_{guard}.pulse"


def read(file: Path) -> Told:
    """What has been reported so far; a :class:`Told` without content if there is no file."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return Told()
    known: dict[str, Any] = {}
    stacks = []
    for line in lines:
        if line.startswith("{"):
            with suppress(ValueError):  # incomplete, since the process was killed inside the write
                known |= json.loads(line)
        elif not line.startswith("Extension modules:"):
            stacks.append(line)
    return Told(**known, traceback="\n".join(stacks).strip())


def last_beat(file: Path) -> float:
    """The file's modification time in seconds, meaningful only compared with an earlier one; 0.0 without a file."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0
