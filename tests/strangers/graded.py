"""An evaluation for tests."""

import json
import random
from typing import ClassVar

from workbench import hookimpl
from workbench.artifacts import evaluation
from workbench.artifacts.evaluation import Evaluation
from workbench.kinds.eval import EvalStage
from workbench.plugin import Config


class CountConfig(Config):
    """Configuration."""

    scale: float = 1.0
    """Weight of the model's gift."""


class Count(EvalStage[CountConfig]):
    """Scores forty examples by the model's strength, with noise that differs from model to model."""

    name = "count"
    Config = CountConfig
    inputs: ClassVar = {"model": "model", "heldout": "corpus"}

    def evaluate(self, model, data, run):
        """Not called: the whole stage is light."""
        raise NotImplementedError

    def execute(self, inputs, outputs, run):
        """Score them."""
        known = json.loads((inputs["model"] / "config.json").read_text())
        chance = random.Random(str(known))
        rows = [
            {"id": str(i), "group": str(i), "score": known["strength"] + self.config.scale * known["gift"] + chance.gauss(0, 1)}
            for i in range(40)
        ]
        mean = sum(row["score"] for row in rows) / 40
        evaluation.write(outputs["out"], Evaluation({"score": mean}, "score", higher_is_better=True, examples=rows), {})
        run.metric("score", mean)


@hookimpl
def workbench_plugins():
    """Offer the evaluation."""
    return [Count]
