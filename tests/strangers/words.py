"""An evaluation for tests, of many examples."""

from typing import ClassVar

from workbench import hookimpl
from workbench.artifacts import evaluation, table
from workbench.artifacts.evaluation import Evaluation
from workbench.kinds.eval import EvalStage
from workbench.plugin import Config


class CountConfig(Config):
    """Configuration."""

    scale: float = 1.0
    """Factor of every score."""


class Count(EvalStage[CountConfig]):
    """Counts the characters of every held-out word."""

    name = "count"
    Config = CountConfig
    inputs: ClassVar = {"model": "model", "heldout": "corpus"}

    def evaluate(self, model, data, run):
        """Not called: the whole stage is light."""
        raise NotImplementedError

    def execute(self, inputs, outputs, run):
        """Score every word."""
        bias = len((inputs["model"] / "config.json").read_text())
        rows = table.read_rows(inputs["heldout"])
        words = [(i, word) for row in rows for i, word in enumerate(row["text"].split())]
        scored = [{"id": str(i), "group": str(i), "score": self.config.scale * len(word) + bias} for i, word in words]
        evaluation.write(
            outputs["out"],
            Evaluation({"score": sum(row["score"] for row in scored)}, "score", higher_is_better=True, examples=scored),
            {},
        )
        run.metric("documents", len(scored))


@hookimpl
def workbench_plugins():
    """Offer the evaluation."""
    return [Count]
