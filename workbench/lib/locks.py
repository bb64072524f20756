"""Locks on open files. The kernel frees one when the last process that has the file open ends, in any way.

A process that inherits the file holds the lock too. So the output of a killed stage stays locked while a process that the stage
started still writes to it. ``filelock`` does not do that: docs/decisions/0017-own-locks.md.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import IO

_POLL_SECONDS = 0.02


def take(file: IO[str], patience: float = 0.0) -> bool:
    """Lock an open file; False if another process still holds it after ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        else:
            return True


def wait(file: IO[str]) -> None:
    """Lock an open file once it is free."""
    fcntl.flock(file, fcntl.LOCK_EX)


def sign(file: IO[str]) -> None:
    """Write this process's id into a file that it has locked, for :func:`holder`."""
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()


def holder(file: IO[str]) -> str:
    """The id of the process that signed last; the file must be open for reading as well."""
    file.seek(0)
    return file.read().strip()
