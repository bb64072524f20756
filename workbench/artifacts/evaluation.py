"""Evaluation result: ``metrics.json`` and ``examples.parquet`` with one row per example, keyed by id."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.artifacts import table
from workbench.artifacts.table import Columns
from workbench.errors import ArtifactError

METRICS_FILE = "metrics.json"
EXAMPLES_PREFIX = "examples"
REQUIRED: Columns = {"id": "string", "group": "string", "score": "double"}


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation of one model."""

    metrics: Mapping[str, float]
    """Named results over all examples."""
    score: str
    """What ``score`` means, such as ``bits_per_byte``; its mean is the headline number."""
    higher_is_better: bool
    """Whether a greater score is better."""
    examples: Iterable[Mapping[str, Any]]
    """One row per example with ``id``, ``group`` (a cluster of dependent examples), ``score`` and any other useful columns."""
    weight: str | None = None
    """Name of the examples' column that weights the mean of ``score``, None for equal weights."""
    of_corpus: bool = False
    """Whether scores are shares of one measure of all examples together, such as BLEU, and so mean nothing over some of them."""


def write(directory: Path, evaluation: Evaluation, columns: Columns) -> int:
    """Write the result; ``columns`` are the examples' columns after id, group and score. Returns the number of examples."""
    directory.mkdir(parents=True, exist_ok=True)
    number = table.write_rows(directory, evaluation.examples, {**REQUIRED, **columns}, prefix=EXAMPLES_PREFIX)
    record = {
        "score": evaluation.score,
        "higher_is_better": evaluation.higher_is_better,
        "weight": evaluation.weight,
        "examples": number,
        "metrics": dict(evaluation.metrics),
    }
    if evaluation.of_corpus:
        record["of_corpus"] = True
    (directory / METRICS_FILE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return number


def read_record(directory: Path) -> dict[str, Any]:
    """The content of metrics.json."""
    record: dict[str, Any] = json.loads((directory / METRICS_FILE).read_text(encoding="utf-8"))
    return record


def read_examples(directory: Path) -> list[dict[str, Any]]:
    """All examples, in file order."""
    return list(table.read_rows(directory, prefix=EXAMPLES_PREFIX))


def validate(directory: Path) -> None:
    """Check that metrics are finite numbers and that examples are keyed by id.

    Raises:
        ArtifactError: names the metric or row.
    """
    if not (directory / METRICS_FILE).is_file():
        raise ArtifactError(f"{METRICS_FILE} is missing", str(directory), "rerun the evaluation")
    for name, value in read_record(directory)["metrics"].items():
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise ArtifactError(f"metric {name!r} is {value}", str(directory / METRICS_FILE), "look at the examples' scores")
    table.require_columns(directory, REQUIRED, prefix=EXAMPLES_PREFIX)
    if table.count_rows(directory, EXAMPLES_PREFIX) == 0:
        raise ArtifactError("the evaluation is empty", str(directory), "look at the held-out data it read")
    table.require_unique(directory, prefix=EXAMPLES_PREFIX)
