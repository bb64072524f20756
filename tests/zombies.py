"""Real zombies: processes that have ended and that nobody has waited for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one() -> Iterator[int]:
    """The number of a zombie, which is gone when the context ends."""
    pid = os.fork()
    if not pid:
        os._exit(0)
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays
        yield pid
    finally:
        os.waitpid(pid, 0)
