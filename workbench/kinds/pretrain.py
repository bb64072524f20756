"""Kind ``pretrain``: makes a base model from text."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from workbench.artifacts.corpus import Corpus
from workbench.kinds.stage import Stage
from workbench.kinds.training import report_training
from workbench.plugin import C
from workbench.run import Run


class PretrainStage(Stage[C]):
    """Trains a model from scratch on a corpus, with a tokenizer."""

    kind: ClassVar[str] = "pretrain"
    section: ClassVar[str] = "pretrain"
    makes: ClassVar[str] = "base"
    inputs: ClassVar[Mapping[str, str]] = {"corpus": "corpus", "tokenizer": "tokenizer"}
    outputs: ClassVar[Mapping[str, str]] = {"out": "model"}
    machine_dependent: ClassVar[bool] = True

    @abstractmethod
    def pretrain(self, corpus: Corpus, tokenizer: Path, out: Path, run: Run) -> None:
        """Save a trained model, its tokenizer and its training log to ``out``."""

    def execute(self, inputs: Mapping[str, Path], outputs: Mapping[str, Path], run: Run) -> None:
        """Train, then report the learning curves."""
        self.pretrain(Corpus(inputs["corpus"]), inputs["tokenizer"], outputs["out"], run)
        report_training(outputs["out"], run)
