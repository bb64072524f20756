"""What the training kinds share: the training log that travels with a model, and its picture."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from workbench.artifacts.model import TRAINING_LOG
from workbench.run import Chart, Run


def write_training_log(model: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write one row per logged step into a model directory. Rows hold results only, never times or rates."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with (model / TRAINING_LOG).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_training_log(model: Path) -> list[dict[str, float]]:
    """Read the log of a model directory; cells that were not logged are left out of their row."""
    with (model / TRAINING_LOG).open(newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def report_training(model: Path, run: Run) -> None:
    """Show the loss curve of a model directory and record its last loss."""
    rows = [row for row in read_training_log(model) if "loss" in row]
    if not rows:
        return
    run.metric("steps", int(rows[-1]["step"]))
    run.metric("loss", rows[-1]["loss"])
    x = [row.get("tokens", row["step"]) for row in rows]
    label = "tokens" if "tokens" in rows[0] else "optimizer steps"
    run.chart(Chart("loss", "Training loss", label, "nats per token", x, {"loss": [row["loss"] for row in rows]}))
    run.table("training-log", "Training log", rows)
