"""Kind ``sft``: supervised fine-tuning of a model on conversations."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from workbench.kinds.stage import Stage
from workbench.kinds.training import report_training
from workbench.plugin import C
from workbench.run import Run


class SftStage(Stage[C]):
    """Fine-tunes a model on the assistant's turns."""

    kind: ClassVar[str] = "sft"
    section: ClassVar[str] = "sft"
    inputs: ClassVar[Mapping[str, str]] = {"model": "model", "data": "conversations"}
    outputs: ClassVar[Mapping[str, str]] = {"out": "model"}
    machine_dependent: ClassVar[bool] = True

    @abstractmethod
    def finetune(self, model: Path, conversations: Path, out: Path, run: Run) -> None:
        """Save the fine-tuned model, its tokenizer and its training log to ``out``."""

    def execute(self, inputs: Mapping[str, Path], outputs: Mapping[str, Path], run: Run) -> None:
        """Fine-tune, then report the learning curves."""
        self.finetune(inputs["model"], inputs["data"], outputs["out"], run)
        report_training(outputs["out"], run)
