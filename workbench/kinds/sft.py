"""Kind ``sft``: supervised fine-tuning of a model on conversations."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from workbench.kinds.training import report_training
from workbench.kinds.tuning import TuningStage
from workbench.plugin import C
from workbench.run import Run


class SftStage(TuningStage[C]):
    """Fine-tunes a model on the assistant's turns."""

    kind: ClassVar[str] = "sft"
    section: ClassVar[str] = "sft"
    inputs: ClassVar[Mapping[str, str]] = {"model": "model", "data": "conversations"}

    @abstractmethod
    def finetune(self, model: Path, conversations: Path, out: Path, run: Run) -> None:
        """Save the fine-tuned model, its tokenizer and its training log to ``out``."""

    def tune(self, model: Path, data: Path, out: Path, run: Run) -> None:
        """Fine-tune, then report the learning curves."""
        self.finetune(model, data, out, run)
        report_training(out, run)
