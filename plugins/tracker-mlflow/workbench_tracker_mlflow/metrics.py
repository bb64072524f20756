"""The numbers of a run: its curves, its results, and those that MLflow cannot show since they are not finite."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence

from mlflow.entities import Metric

from workbench import events
from workbench_tracker_mlflow import tags
from workbench_tracker_mlflow.store import Store

NONFINITE_NAMED = 20
_log = logging.getLogger(__name__)


def log_curves(store: Store, run: str, told: Sequence[events.MetricsLogged]) -> None:
    """Write a batch of numbers; those that are not finite are named in a tag instead, since MLflow would show a number."""
    points = [point for event in told if event.step is not None for point in of(event.values, event.time, event.step)]
    store.log_metrics(run, points)
    for event in told:
        if event.step is None:
            log_results(store, run, event.values, event.time)
    note_not_finite(store, run, [text for event in told for text in _not_finite(event.values, f" at step {event.step}")])


def log_results(store: Store, run: str, values: Mapping[str, float], time: float) -> None:
    """Write values that have no step; one with a curve of the same name ends that curve, it does not begin it."""
    known = store.client.get_run(run).data.metrics
    found: list[Metric] = []
    for metric in of(values, time, 0):
        if known.get(metric.key) == metric.value:
            continue
        step = store.last_step(run, metric.key) if metric.key in known else 0
        found += of({metric.key: metric.value}, time, step)
    store.log_metrics(run, found)


def log_final(store: Store, run: str, values: Mapping[str, float], time: float) -> None:
    """Write the results with which a stage ended, and name those that are not finite."""
    log_results(store, run, values, time)
    note_not_finite(store, run, [*_not_finite(values, "")])


def of(values: Mapping[str, float], time: float, step: int) -> Iterator[Metric]:
    """MLflow's points of the finite values.

    Args:
        time: seconds since the epoch.
    """
    for name, value in values.items():
        if math.isfinite(value):
            yield Metric(tags.key(name), value, int(time * 1000), step)


def note_not_finite(store: Store, run: str, spoilt: Sequence[str]) -> None:
    """Add to the tag that names them, each once."""
    if not spoilt:
        return
    _log.warning("run %s: not finite: %s", run, "; ".join(spoilt[:NONFINITE_NAMED]))
    known = store.client.get_run(run).data.tags.get(tags.NONFINITE, "")
    named = [*filter(None, known.split("; "))]
    named += [text for text in spoilt if text not in named]
    store.set_tags(run, {tags.NONFINITE: "; ".join(named[:NONFINITE_NAMED])})


def _not_finite(values: Mapping[str, float], where: str) -> Iterator[str]:
    return (f"{name} = {value}{where}" for name, value in values.items() if not math.isfinite(value))
