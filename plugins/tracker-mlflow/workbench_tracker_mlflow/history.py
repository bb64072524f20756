"""What past runs teach about the cost of the next: read by ``workbench plan``."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.answers import MEMORY_METRIC, RUNS, STARTUP_METRIC, WORK_METRIC, PastRun
from workbench_tracker_mlflow import tags

if TYPE_CHECKING:
    from workbench_tracker_mlflow.store import Store

TIMEOUT = 2.0
"""Seconds that a lock on the database may take."""
_RUNS = """
    SELECT run_uuid, status FROM runs JOIN experiments USING (experiment_id)
    WHERE experiments.name = ? AND runs.lifecycle_stage = 'active'
    AND EXISTS (SELECT 1 FROM tags WHERE tags.run_uuid = runs.run_uuid AND key = ? AND value = ?)
    AND EXISTS (SELECT 1 FROM tags WHERE tags.run_uuid = runs.run_uuid AND key = ? AND value = ?)
    AND EXISTS (SELECT 1 FROM tags WHERE tags.run_uuid = runs.run_uuid AND key = ? AND value = ?)
    ORDER BY start_time DESC, run_uuid LIMIT ?
"""
_TAGS = "SELECT key, value FROM tags WHERE run_uuid = ?"
_METRICS = "SELECT key, value FROM latest_metrics WHERE run_uuid = ?"


def past_runs(store: Store, kind: str, plugin: str, machine: str) -> list[PastRun]:
    """The finished runs of a plugin on a machine that were not resumed, newest first; reproductions cost the same."""
    found = store.find({tags.KIND: kind, tags.PLUGIN: plugin, tags.MACHINE: machine}, limit=4 * RUNS)
    return [_past_run(run.data.tags, run.data.metrics) for run in found if _teaches(run.info.status, run.data.tags)]


def past_runs_of_file(file: Path, experiment: str, kind: str, plugin: str, machine: str) -> list[PastRun]:
    """The same, read from a database of SQLite without MLflow, whose import takes longer than all else of a plan.

    Raises:
        sqlite3.Error: it cannot be read so: it is busy or damaged, or MLflow has come to name things otherwise.
    """
    wanted = (tags.KIND, kind, tags.PLUGIN, plugin, tags.MACHINE, machine)
    with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=TIMEOUT)) as database:
        found = database.execute(_RUNS, (experiment, *wanted, 4 * RUNS)).fetchall()
        read = [
            (status, dict(database.execute(_TAGS, (run,))), dict(database.execute(_METRICS, (run,)))) for run, status in found
        ]
    return [_past_run(noted, metrics) for status, noted, metrics in read if _teaches(status, noted)]


def _teaches(status: str, noted: Mapping[str, str]) -> bool:
    return status == "FINISHED" and tags.RESUMED_FROM not in noted and tags.SECONDS in noted


def _past_run(noted: Mapping[str, str], metrics: Mapping[str, float]) -> PastRun:
    work = next((name for name in metrics if name.startswith(WORK_METRIC)), "")
    return PastRun(
        seconds=float(noted[tags.SECONDS]),
        work=metrics.get(work, 0.0),
        unit=work.removeprefix(WORK_METRIC),
        startup=metrics.get(STARTUP_METRIC, 0.0),
        memory=metrics.get(MEMORY_METRIC, 0.0),
        peak_memory=float(noted.get(tags.PEAK_MEMORY, 0)),
    )
