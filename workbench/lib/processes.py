"""Whether processes run. A zombie does not: it has ended, and nobody may ever ask how, as where PID 1 takes in no orphans."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

_PROC = Path("/proc/self/stat")
_STATE_FIELD, _START_FIELD = 0, 19
"""Positions in /proc/PID/stat, counted from what follows the name (proc(5), fields 3 and 22)."""
_ENDED = frozenset("ZX")


def process_start(pid: int) -> float:
    """Start time of a process, such that the pair (pid, start) is never used twice between two boots.

    On Linux it counts seconds since boot, which a clock that is set does not move; elsewhere seconds since the
    epoch. -1.0 when there is no such process or it is a zombie.
    """
    if _PROC.exists():
        fields = _read_stat(pid)
        ended = not fields or fields[_STATE_FIELD] in _ENDED
        return -1.0 if ended else int(fields[_START_FIELD]) / os.sysconf("SC_CLK_TCK")
    try:
        process = psutil.Process(pid)
        return -1.0 if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return -1.0


def is_alive(pid: int, started: float) -> bool:
    """Whether the process that had this pid at that start time still runs."""
    return started >= 0 and abs(process_start(pid) - started) < 0.005


def is_running(pid: int) -> bool:
    """Whether some process of that number runs; numbers are given out again: where its start is known, ask :func:`is_alive`."""
    try:
        return pid > 0 and psutil.pid_exists(pid) and not is_zombie(pid)
    except OverflowError:
        return False  # no such number is ever given out


def is_zombie(pid: int) -> bool:
    """Whether a process has ended and its parent has not asked how, so that its number is still taken."""
    if _PROC.exists():
        fields = _read_stat(pid)
        return bool(fields) and fields[_STATE_FIELD] in _ENDED
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _read_stat(pid: int) -> list[str]:
    """The fields that follow the name; none where there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return stat[stat.rindex(")") + 2 :].split()  # the name before it may hold spaces and brackets
