"""Whether processes are running. A zombie is not: it has ended, but may never be reaped if PID 1 reaps no orphans."""

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

    On Linux it counts seconds since boot, unaffected by clock changes; elsewhere seconds since the
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
    """Whether any process with that pid runs. Pids are reused: if the start time is known, use :func:`is_alive`."""
    try:
        return pid > 0 and psutil.pid_exists(pid) and not is_zombie(pid)
    except OverflowError:
        return False  # such a pid is never assigned


def is_zombie(pid: int) -> bool:
    """Whether a process has ended without being reaped by its parent, so that its pid is still taken."""
    if _PROC.exists():
        fields = _read_stat(pid)
        return bool(fields) and fields[_STATE_FIELD] in _ENDED
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _read_stat(pid: int) -> list[str]:
    """The fields after the name; empty if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return stat[stat.rindex(")") + 2 :].split()  # the name may contain spaces and brackets
