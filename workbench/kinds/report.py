"""Kind ``report``: turns the results of a pipeline into documents for people."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from workbench.kinds.stage import Stage
from workbench.plugin import C
from workbench.run import Run


@dataclass(frozen=True)
class Results:
    """Where a pipeline's results are."""

    models: Path
    """Folder of model directories: base, sft, aligned."""
    evals: Path
    """Folder of evaluation results named ``<evaluation>-<model>``."""
    decisions: Path
    """Folder of decisions by data set, including dedup's."""
    metrics: Path
    """Folder of the stages' metrics files."""


class ReportStage(Stage[C]):
    """Writes a folder of documents, which contain no time, host or run id."""

    kind: ClassVar[str] = "report"
    section: ClassVar[str] = "report"
    inputs: ClassVar[Mapping[str, str]] = {
        "models": "folder",
        "evals": "folder",
        "decisions": "folder",
        "stage_metrics": "folder",
    }
    outputs: ClassVar[Mapping[str, str]] = {"out": "folder"}
    machine_dependent: ClassVar[bool] = True

    @abstractmethod
    def write(self, results: Results, out: Path, run: Run) -> None:
        """Write the documents to ``out``, an empty directory."""

    def execute(self, inputs: Mapping[str, Path], outputs: Mapping[str, Path], run: Run) -> None:
        """Write the documents."""
        outputs["out"].mkdir(parents=True)
        results = Results(inputs["models"], inputs["evals"], inputs["decisions"], inputs["stage_metrics"])
        self.write(results, outputs["out"], run)
