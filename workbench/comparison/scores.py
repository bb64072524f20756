"""How two evaluations of the same examples differ, with an interval."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from workbench.artifacts import evaluation
from workbench.models.statistics import FEWEST_GROUPS, ClusteredMean, paired_difference


@dataclass(frozen=True)
class ScoreChange:
    """The mean of ``after - before`` over the examples that both have."""

    score: str
    """What is scored, such as ``bits_per_byte``."""
    before: float
    after: float
    """Means over the shared examples."""
    difference: ClusteredMean
    higher_is_better: bool
    unshared: int
    """Examples that only one side has."""

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, or ``no difference shown`` if the interval includes zero."""
        if not self.difference.excludes_zero:
            return "no difference shown"
        return "better" if (self.difference.estimate > 0) is self.higher_is_better else "worse"


def compare(before: Path, after: Path) -> ScoreChange | str:
    """Compare two evaluation results, or return why that is impossible."""
    records = [evaluation.read_record(folder) for folder in (before, after)]
    for key in ("score", "weight", "higher_is_better"):
        if records[0][key] != records[1][key]:
            return f"{key} is {records[0][key]} in one and {records[1][key]} in the other"
    record = records[1]
    first, second = ({row["id"]: row for row in evaluation.read_examples(folder)} for folder in (before, after))
    shared = [identity for identity in first if identity in second]
    unshared = len(first) + len(second) - 2 * len(shared)
    if record.get("of_corpus") and unshared:
        return f"{record['score']} is of all examples together, and {unshared} are not shared"
    groups = [str(second[identity]["group"]) for identity in shared]
    if len(set(groups)) < FEWEST_GROUPS:
        return f"they share {len(shared)} examples of {len(set(groups))} groups; an interval needs {FEWEST_GROUPS} groups"
    weights = [float(second[identity][record["weight"]]) for identity in shared] if record["weight"] else None
    earlier, later = ([float(rows[identity]["score"]) for identity in shared] for rows in (first, second))
    return ScoreChange(
        record["score"],
        _mean(earlier, weights),
        _mean(later, weights),
        paired_difference(earlier, later, groups, weights=weights),
        bool(record["higher_is_better"]),
        unshared,
    )


def is_evaluation(folder: Path) -> bool:
    """Whether an output is the result of an evaluation."""
    return (folder / evaluation.METRICS_FILE).is_file() and any(folder.glob(f"{evaluation.EXAMPLES_PREFIX}*"))


def _mean(scores: list[float], weights: list[float] | None) -> float:
    used = weights or [1.0] * len(scores)
    return sum(score * weight for score, weight in zip(scores, used, strict=True)) / sum(used)
