"""What a pipeline left behind, read into records that the page and the card are made of."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from workbench.artifacts import evaluation, table
from workbench.artifacts.model import TRAINING_LOG
from workbench.kinds.report import Results
from workbench.kinds.training import read_training_log
from workbench.models.statistics import FEWEST_GROUPS, ClusteredMean, clustered_mean, paired_difference

DEDUP_COLUMNS = {"kept", "split", "reason"}


@dataclass(frozen=True)
class Funnel:
    """How many records of a data set were read, lost for each reason, and kept."""

    name: str
    steps: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Curve:
    """The loss of one model's training."""

    model: str
    x_label: str
    x: tuple[float, ...]
    loss: tuple[float, ...]
    unit: str
    """Of the loss; empty for the objectives of alignment, each of which has a unit of its own or none."""
    steps: int
    """Optimizer steps up to the last row of the log."""


@dataclass(frozen=True)
class Measured:
    """One evaluation of one model."""

    model: str
    metrics: Mapping[str, float]
    estimate: float
    interval: ClusteredMean | None
    """None where the examples are of too few groups."""
    examples: int
    groups: int


@dataclass(frozen=True)
class Difference:
    """How a model differs from an earlier one on the same examples."""

    before: str
    after: str
    result: ClusteredMean
    better: bool
    """Whether the difference is in the good direction and its interval excludes 0."""

    @property
    def name(self) -> str:
        """Part of the metric's name."""
        return f"{self.after}-{self.before}"


@dataclass(frozen=True)
class Evaluated:
    """One evaluation of all models."""

    name: str
    score: str
    higher_is_better: bool
    measured: tuple[Measured, ...]
    differences: tuple[Difference, ...]

    @property
    def references(self) -> dict[str, float]:
        """Values to compare the score with: chance, and baselines named ``<baseline>_<score>``."""
        last = self.measured[-1].metrics
        return {name: value for name, value in last.items() if name == "chance" or name.endswith(f"_{self.score}")}


@dataclass(frozen=True)
class Findings:
    """Everything that the documents show."""

    funnels: tuple[Funnel, ...]
    curves: tuple[Curve, ...]
    evaluations: tuple[Evaluated, ...]
    models: tuple[str, ...]
    """Names of the models that exist, in order of training."""
    unplaced: tuple[str, ...]
    """Those of them whose place in that order nobody has told; they are the last."""


def gather(results: Results, order: Sequence[str]) -> Findings:
    """Read all results; ``order`` gives the models' order of training, others follow by name."""
    models = _models(results.models, order)
    stages = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(results.metrics.glob("*.json"))}
    return Findings(
        funnels=tuple(_curated(stages) + _deduplicated(results.decisions)),
        curves=tuple(_curve(results.models / name, name) for name in models if _is_logged(results.models / name)),
        evaluations=tuple(_evaluations(results.evals, models)),
        models=tuple(models),
        unplaced=tuple(name for name in models if name not in order),
    )


def _models(folder: Path, order: Sequence[str]) -> list[str]:
    found = sorted(path.parent.name for path in folder.glob("*/config.json"))
    return [name for name in order if name in found] + [name for name in found if name not in order]


def _curated(stages: Mapping[str, Mapping[str, float]]) -> list[Funnel]:
    funnels = []
    for stage, metrics in stages.items():
        if not (stage.startswith("curate-") and {"read", "kept"} <= set(metrics)):
            continue
        lost = [(name.removeprefix("rejected."), int(value)) for name, value in metrics.items() if name.startswith("rejected.")]
        splits = [
            (name.replace("_rows", " split"), int(metrics[name])) for name in ("train_rows", "heldout_rows") if name in metrics
        ]
        steps = (("read", int(metrics["read"])), *lost, ("kept", int(metrics["kept"])), *splits)
        funnels.append(Funnel(stage.removeprefix("curate-"), steps))
    return funnels


def _deduplicated(decisions: Path) -> list[Funnel]:
    funnels = []
    for folder in sorted({shard.parent for shard in decisions.rglob("part-*.parquet")}):
        if set(table.columns_of(folder)) >= DEDUP_COLUMNS:
            rows = list(table.read_rows(folder, ["kept", "split", "reason"]))
            lost = Counter(row["reason"] for row in rows if not row["kept"])
            splits = Counter(row["split"] for row in rows if row["kept"])
            kept = [(f"{name} split", number) for name, number in sorted(splits.items(), reverse=True)]
            funnels.append(Funnel(folder.name, (("read", len(rows)), *sorted(lost.items()), *kept)))
    return funnels


def _is_logged(model: Path) -> bool:
    return (model / TRAINING_LOG).is_file()


def _curve(directory: Path, model: str) -> Curve:
    rows = [row for row in read_training_log(directory) if "loss" in row]
    by_tokens = all("tokens" in row for row in rows)
    x = tuple(row["tokens" if by_tokens else "step"] for row in rows)
    rewarded = any(name.startswith("reward") for row in rows for name in row)
    unit = "" if rewarded else "nats per token"
    steps = int(rows[-1]["step"]) if rows else 0
    return Curve(model, "tokens" if by_tokens else "optimizer steps", x, tuple(row["loss"] for row in rows), unit, steps)


def _evaluations(folder: Path, models: Sequence[str]) -> list[Evaluated]:
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob(f"*/{evaluation.METRICS_FILE}")):
        for model in sorted(models, key=len, reverse=True):
            if path.parent.name.endswith(f"-{model}"):
                found.setdefault(path.parent.name.removesuffix(f"-{model}"), {})[model] = path.parent
                break
    return [_evaluated(name, {m: folders[m] for m in models if m in folders}) for name, folders in sorted(found.items())]


def _evaluated(name: str, folders: Mapping[str, Path]) -> Evaluated:
    records = {model: evaluation.read_record(folder) for model, folder in folders.items()}
    examples = {model: {row["id"]: row for row in evaluation.read_examples(folder)} for model, folder in folders.items()}
    first = next(iter(records.values()))
    weight, higher = first["weight"], bool(first["higher_is_better"])
    measured = tuple(_measured(model, records[model]["metrics"], list(examples[model].values()), weight) for model in folders)
    differences = [_difference(before, after, examples, weight=weight, higher=higher) for before, after in _pairs(list(folders))]
    return Evaluated(name, first["score"], higher, measured, tuple(found for found in differences if found))


def _pairs(models: Sequence[str]) -> list[tuple[str, str]]:
    """Consecutive models, then the first and the last."""
    pairs = list(pairwise(models))
    return [*pairs, (models[0], models[-1])] if len(models) > 2 else pairs


def _measured(model: str, metrics: Mapping[str, float], rows: Sequence[Mapping[str, Any]], weight: str | None) -> Measured:
    scores, weights = [row["score"] for row in rows], _weights(rows, weight)
    groups = [row["group"] for row in rows]
    interval = clustered_mean(scores, groups, weights=weights) if len(set(groups)) >= FEWEST_GROUPS else None
    total = math.fsum(weights) if weights else len(scores)
    mean = math.fsum(score * w for score, w in zip(scores, weights or [1.0] * len(scores), strict=True)) / total
    return Measured(model, metrics, mean, interval, len(rows), len(set(groups)))


def _difference(
    before: str,
    after: str,
    examples: Mapping[str, Mapping[str, Mapping[str, Any]]],
    *,
    weight: str | None,
    higher: bool,
) -> Difference | None:
    """None where the two share too few groups of examples for an interval."""
    shared = [identity for identity in examples[before] if identity in examples[after]]
    rows = [examples[after][identity] for identity in shared]
    groups = [row["group"] for row in rows]
    if len(set(groups)) < FEWEST_GROUPS:
        return None
    earlier, later = ([examples[model][identity]["score"] for identity in shared] for model in (before, after))
    result = paired_difference(earlier, later, groups, weights=_weights(rows, weight))
    return Difference(before, after, result, result.excludes_zero and (result.estimate > 0) is higher)


def _weights(rows: Sequence[Mapping[str, Any]], weight: str | None) -> list[float] | None:
    return [float(row[weight]) for row in rows] if weight else None
