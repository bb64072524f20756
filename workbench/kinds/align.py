"""Kind ``align``: brings a model closer to preferences or rewards."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from workbench.kinds.training import report_training
from workbench.kinds.tuning import TuningStage
from workbench.plugin import C
from workbench.run import Run


class AlignStage(TuningStage[C]):
    """Trains a fine-tuned model on preferences or problems; a subclass declares which in ``inputs["data"]``."""

    kind: ClassVar[str] = "align"
    section: ClassVar[str] = "align"
    makes: ClassVar[str] = "aligned"
    inputs: ClassVar[Mapping[str, str]] = {"model": "model", "data": "preferences"}

    @abstractmethod
    def align(self, model: Path, data: Path, out: Path, run: Run) -> None:
        """Save the aligned model, its tokenizer and its training log to ``out``."""

    def tune(self, model: Path, data: Path, out: Path, run: Run) -> None:
        """Align, then report the learning curves."""
        self.align(model, data, out, run)
        report_training(out, run, unit="loss")  # each objective has a unit of its own
