"""The cost of each stage as predicted by ``workbench plan``; the runner compares it with the actual cost."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.answers import MEMORY_METRIC, PREDICTED_METRIC, WORK_METRIC
from workbench.artifacts.digests import of_record
from workbench.lib.commit import write_text

if TYPE_CHECKING:
    from workbench.kinds.stage import Stage

_log = logging.getLogger(__name__)
PLAN_FILE = Path(".workbench/plan.json")


@dataclass(frozen=True)
class Forecast:
    """The expected cost of one run of a stage."""

    work: float
    unit: str
    tokens: float
    """0 if no model reads any."""
    flops: float
    """Floating-point operations; 0 if unknown."""
    memory: float
    """Peak, bytes; 0 if unknown."""
    seconds: float | None
    """None without past runs."""
    past_runs: int
    """Number of runs it is based on."""


def write(root: Path, forecasts: Mapping[str, tuple[Mapping[str, Any], Forecast | None]]) -> None:
    """Keep the forecasts below the main workspace, beside those of stages that were not planned.

    Args:
        root: the main workspace.
        forecasts: stage → its record in plugins-lock.json, and what it will cost; None takes an older forecast away.
    """
    known = {stage: forecast for stage, forecast in _read(root).items() if stage not in forecasts}
    found = {stage: {"record": of_record(record), **asdict(cost)} for stage, (record, cost) in forecasts.items() if cost}
    (root / PLAN_FILE).parent.mkdir(exist_ok=True)
    write_text(root / PLAN_FILE, json.dumps({**known, **found}, indent=1) + "\n")


def predicted_seconds(root: Path, stage: str, record: Mapping[str, Any]) -> float | None:
    """The newest plan's prediction for this stage with this record; None if it made none.

    Args:
        root: the main workspace.
        stage: DVC's name of the stage.
        record: its record in plugins-lock.json.
    """
    found = _read(root).get(stage)
    return found["seconds"] if found and found["record"] == of_record(record) else None


def metrics(stage: Stage[Any], inputs: Mapping[str, Path], predicted: float | None) -> dict[str, float]:
    """What trackers keep besides a run's duration, for the next plan to learn from.

    Args:
        stage: about to run.
        inputs: flow → path of what it reads.
        predicted: from :func:`predicted_seconds`.
    """
    found = {} if predicted is None else {PREDICTED_METRIC: predicted}
    try:
        estimate = stage.estimate(inputs)
    except Exception as error:  # noqa: BLE001 - a wrong estimate must not stop the stage
        _log.warning("%s %s: its estimate failed: %s: %s", stage.kind, stage.name, type(error).__name__, error)
        return found
    costs = {f"{WORK_METRIC}{estimate.unit}": estimate.work, MEMORY_METRIC: estimate.memory}
    return {**found, **{name: value for name, value in costs.items() if value > 0}}


def _read(root: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads((root / PLAN_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content
