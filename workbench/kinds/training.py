"""Shared by the training kinds: optimizer settings, and the training log stored with a model."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from workbench.artifacts.model import TRAINING_LOG
from workbench.plugin import Config
from workbench.run import Chart, Run


def _ends_a_row(save_steps: int, info: ValidationInfo) -> int:
    logging_steps = info.data.get("logging_steps", 1)  # absent where it is wrong itself
    if save_steps % logging_steps:
        fit = save_steps - save_steps % logging_steps or logging_steps
        raise ValueError(f"{save_steps} is not a multiple of logging_steps {logging_steps}: use {fit}")
    return save_steps


SaveSteps = Annotated[int, Field(ge=1), AfterValidator(_ends_a_row)]
"""Steps between two checkpoints, for a configuration that declares ``logging_steps`` before it. A checkpoint between two rows of
the log would leave a row whose mean a resumed run could not complete."""


class OptimizerConfig(Config):
    """Optimizer settings; :mod:`workbench.training.optimizers` builds the optimizer."""

    name: Literal["muon", "adamw"] = "adamw"
    """``muon`` updates the hidden matrices with Muon and the rest with AdamW; ``adamw`` updates everything with AdamW."""
    matrix_learning_rate: float = Field(0.02, gt=0)
    """Peak learning rate of the hidden matrices under ``muon``."""
    learning_rate: float = Field(1e-3, gt=0)
    """Peak learning rate of AdamW."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay for hidden matrices; embeddings, norms and biases are not decayed."""
    warmup_steps: int = Field(10, ge=0)
    """Steps of linear warm-up."""
    decay_share: float = Field(0.9, gt=0, le=1)
    """Share of the steps, at the end, in which the learning rate falls linearly to zero."""


def write_training_log(model: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write one row per logged step into a model directory. Rows hold results only, never times or rates."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with (model / TRAINING_LOG).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_training_log(model: Path) -> list[dict[str, float]]:
    """Read the log of a model directory; rows omit cells that were not logged."""
    with (model / TRAINING_LOG).open(newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def report_training(model: Path, run: Run, unit: str = "nats per token") -> None:
    """Show the loss curve of a model directory, with the loss in ``unit``, and record the last loss."""
    rows = [row for row in read_training_log(model) if "loss" in row]
    if not rows:
        return
    run.metric("loss", rows[-1]["loss"])
    x = [row.get("tokens", row["step"]) for row in rows]
    label = "tokens" if "tokens" in rows[0] else "optimizer steps"
    run.chart(Chart("loss", "Training loss", label, unit, x, {"loss": [row["loss"] for row in rows]}))
    run.table("training-log", "Training log", rows)
