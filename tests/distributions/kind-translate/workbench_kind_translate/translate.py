"""Kind ``translate``: translates a corpus, text by text."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from workbench.artifacts.corpus import Corpus
from workbench.kinds.stage import Stage
from workbench.plugin import C
from workbench.run import Run
from workbench_kind_translate import translations


class TranslateStage(Stage[C]):
    """Writes a pair of texts per document."""

    kind: ClassVar[str] = "translate"
    section: ClassVar[str] = "translate"
    nested: ClassVar[bool] = True
    inputs: ClassVar[Mapping[str, str]] = {"corpus": "corpus"}
    outputs: ClassVar[Mapping[str, str]] = {"out": "translations"}

    @abstractmethod
    def translate(self, text: str) -> str:
        """Return the text in the other language."""

    def execute(self, inputs: Mapping[str, Path], outputs: Mapping[str, Path], run: Run) -> None:
        """Translate every document."""
        rows = Corpus(inputs["corpus"]).rows(["id", "text"])
        pairs = [(row["id"], row["text"], self.translate(row["text"])) for row in rows]
        translations.write(outputs["out"], pairs)
        run.metric("pairs", len(pairs))
        run.metric("changed", sum(text != translated for _, text, translated in pairs))
