"""What past runs teach about the cost of the next: read by ``workbench plan``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.answers import MEMORY_METRIC, RUNS, STARTUP_METRIC, WORK_METRIC, PastRun
from workbench_tracker_mlflow import tags

if TYPE_CHECKING:
    from mlflow.entities import Run

    from workbench_tracker_mlflow.store import Store


def past_runs(store: Store, kind: str, plugin: str, machine: str) -> list[PastRun]:
    """The finished runs of a plugin on a machine that were not resumed, newest first; reproductions cost the same."""
    found = store.find({tags.KIND: kind, tags.PLUGIN: plugin, tags.MACHINE: machine}, limit=4 * RUNS)
    whole = [run for run in found if run.info.status == "FINISHED" and tags.RESUMED_FROM not in run.data.tags]
    return [_past_run(run) for run in whole if tags.SECONDS in run.data.tags]


def _past_run(run: Run) -> PastRun:
    metrics = run.data.metrics
    work = next((name for name in metrics if name.startswith(WORK_METRIC)), "")
    return PastRun(
        seconds=float(run.data.tags[tags.SECONDS]),
        work=metrics.get(work, 0.0),
        unit=work.removeprefix(WORK_METRIC),
        startup=metrics.get(STARTUP_METRIC, 0.0),
        memory=metrics.get(MEMORY_METRIC, 0.0),
        peak_memory=float(run.data.tags.get(tags.PEAK_MEMORY, 0)),
    )
