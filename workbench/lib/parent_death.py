"""The kernel's help in ending a process with its parent (Linux, prctl(2)); elsewhere nothing happens.

It imports next to nothing, so that a process can call it before it loads anything else.
"""

from __future__ import annotations

import ctypes
import signal
import sys

_SET_PARENT_DEATH_SIGNAL, _SET_CHILD_SUBREAPER = 1, 36


def end_with_parent() -> None:
    """From now on the kernel kills this process when its parent ends; whether it has ended already, the caller has to see."""
    _prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def outlive_parent() -> None:
    """Take :func:`end_with_parent` back."""
    _prctl(_SET_PARENT_DEATH_SIGNAL, 0)


def adopt_orphans() -> None:
    """Become the parent of every process below this one whose own parent ends."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, *(ctypes.c_ulong(number) for number in (value, 0, 0, 0)))
