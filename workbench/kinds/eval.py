"""Kind ``eval``: measures a model on held-out data."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from workbench.artifacts import evaluation
from workbench.artifacts.evaluation import Evaluation
from workbench.artifacts.table import Columns
from workbench.kinds.stage import Stage
from workbench.plugin import C
from workbench.run import Cell, Run

EXAMPLES_SHOWN = 200


class EvalStage(Stage[C]):
    """Scores a model example by example."""

    kind: ClassVar[str] = "eval"
    section: ClassVar[str] = "eval"
    nested: ClassVar[bool] = True
    inputs: ClassVar[Mapping[str, str]] = {"model": "model"}
    """The model and, in a subclass, what else it reads: each further flow is a further dependency of its stages in dvc.yaml."""
    outputs: ClassVar[Mapping[str, str]] = {"out": "evaluation"}
    machine_dependent: ClassVar[bool] = True
    columns: ClassVar[Columns] = {}
    """Columns of the examples after ``id``, ``group`` and ``score``; see :data:`~workbench.artifacts.table.Columns`."""

    @abstractmethod
    def evaluate(self, model: Path, data: Mapping[str, Path], run: Run) -> Evaluation:
        """Return the model's metrics and one scored row per example.

        Args:
            model: a model directory.
            data: every other input, by flow; optional ones only where dvc.yaml names them.
            run: the handle of this execution.
        """

    def execute(self, inputs: Mapping[str, Path], outputs: Mapping[str, Path], run: Run) -> None:
        """Evaluate, write metrics and examples, show a sample of the examples."""
        data = {flow: path for flow, path in inputs.items() if flow != "model"}
        result = self.evaluate(inputs["model"], data, run)
        evaluation.write(outputs["out"], result, self.columns)
        for name, value in result.metrics.items():
            run.metric(name, value)
        run.table("metrics", "Metrics", [{"metric": name, "value": value} for name, value in result.metrics.items()])
        examples = evaluation.read_examples(outputs["out"])[:EXAMPLES_SHOWN]
        run.table("examples", f"The first {len(examples)} examples", [_cells(example) for example in examples])


def _cells(row: Mapping[str, object]) -> dict[str, Cell]:
    return {name: value if isinstance(value, str | int | float | bool | None) else str(value) for name, value in row.items()}
