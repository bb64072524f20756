"""Kind ``eval``: measures a model on held-out data."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from workbench.artifacts import evaluation
from workbench.artifacts.evaluation import Evaluation
from workbench.artifacts.table import Columns
from workbench.kinds.stage import Stage
from workbench.plugin import C
from workbench.run import Cell, Run

EXAMPLES_SHOWN = 200


@dataclass(frozen=True)
class HeldOut:
    """Everything an evaluation may read besides the model; the same for every evaluation."""

    corpus: Path
    """Held-out documents, a corpus."""
    train: Path
    """The training documents, a corpus, for baselines."""
    benchmark: Path
    """A task folder of the LM Evaluation Harness."""
    preferences: Path
    """Preferences; evaluations read the split ``heldout``."""


class EvalStage(Stage[C]):
    """Scores a model example by example."""

    kind: ClassVar[str] = "eval"
    inputs: ClassVar[Mapping[str, str]] = {
        "model": "model",
        "heldout": "corpus",
        "train": "corpus",
        "benchmark": "benchmark",
        "preferences": "preferences",
    }
    outputs: ClassVar[Mapping[str, str]] = {"out": "evaluation"}
    machine_dependent: ClassVar[bool] = True
    columns: ClassVar[Columns] = {}
    """Columns of the examples after ``id``, ``group`` and ``score``; see :data:`~workbench.artifacts.table.Columns`."""

    @abstractmethod
    def evaluate(self, model: Path, data: HeldOut, run: Run) -> Evaluation:
        """Return the model's metrics and one scored row per example."""

    def execute(self, inputs: Mapping[str, Path], outputs: Mapping[str, Path], run: Run) -> None:
        """Evaluate, write metrics and examples, show a sample of the examples."""
        data = HeldOut(inputs["heldout"], inputs["train"], inputs["benchmark"], inputs["preferences"])
        result = self.evaluate(inputs["model"], data, run)
        evaluation.write(outputs["out"], result, self.columns)
        for name, value in result.metrics.items():
            run.metric(name, value)
        run.table("metrics", "Metrics", [{"metric": name, "value": value} for name, value in result.metrics.items()])
        examples = evaluation.read_examples(outputs["out"])[:EXAMPLES_SHOWN]
        run.table("examples", f"The first {len(examples)} examples", [_cells(example) for example in examples])


def _cells(row: Mapping[str, object]) -> dict[str, Cell]:
    return {name: value if isinstance(value, str | int | float | bool | None) else str(value) for name, value in row.items()}
