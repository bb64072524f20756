"""How long an amount of work takes on this machine, estimated from past runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from workbench.answers import RUNS, PastRun
from workbench.hosting import trackers

SPREAD = 1.25
"""Ratio of largest to smallest amount of work above which start-up and rate are fitted separately."""


def past_runs(root: Path, kind: str, plugin: str, machine: str) -> list[PastRun]:
    """The newest finished runs of a plugin on a machine, from every tracker that keeps them.

    Args:
        root: the main workspace.
        kind: the plugin's kind.
        plugin: its name.
        machine: digest of the machine's fingerprint.

    Raises:
        ConnectionError: a tracker's store can't be reached.
    """
    found: list[PastRun] = []
    for tracker in trackers.configured(root):
        for runs in trackers.hooks_of(tracker).past_runs(workspace=root, kind=kind, plugin=plugin, machine=machine):
            found += runs
    return found[:RUNS]


def seconds(work: float, past: Sequence[PastRun]) -> float | None:
    """Expected seconds for an amount of work; None without past runs.

    Time is ``start-up + work / rate``. Runs of different sizes give both by least squares of the relative error;
    runs of one size give the rate, with their own start-up taken as it was.
    """
    if not past:
        return None
    sized = [run for run in past if run.work > 0]
    if work <= 0 or not sized:
        return median(run.seconds for run in past)
    amounts = [run.work for run in sized]
    if max(amounts) < SPREAD * min(amounts):
        startup = median(run.startup for run in sized)
        return startup + work * median(max(run.seconds - startup, 0) / run.work for run in sized)
    startup, per_unit = _fit(amounts, [run.seconds for run in sized])
    return startup + per_unit * work


def peak_memory(memory: float, past: Sequence[PastRun]) -> float:
    """Expected peak in bytes: the estimate plus the median excess of past runs over theirs, if positive; 0 if unknown."""
    beyond = [run.peak_memory - run.memory for run in past if run.peak_memory > 0 and (run.memory > 0) == (memory > 0)]
    return max(memory, memory + median(beyond)) if beyond else memory


def _fit(work: Sequence[float], time: Sequence[float]) -> tuple[float, float]:
    """Start-up and seconds per unit, neither negative, that minimise Σ((a + b·work − time) / time)²."""
    x, y = [1 / t for t in time], [w / t for w, t in zip(work, time, strict=True)]
    xx, xy, yy = (sum(p * q for p, q in zip(a, b, strict=True)) for a, b in ((x, x), (x, y), (y, y)))
    determinant = xx * yy - xy * xy
    if determinant > 0:
        startup, per_unit = (sum(x) * yy - sum(y) * xy) / determinant, (sum(y) * xx - sum(x) * xy) / determinant
        if startup >= 0 and per_unit >= 0:
            return startup, per_unit
        if per_unit < 0:
            return sum(x) / xx, 0.0
    return 0.0, sum(y) / yy
