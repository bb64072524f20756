"""An alignment for tests."""

import json

import numpy as np
from safetensors.numpy import save_file

from workbench import hookimpl
from workbench.kinds.align import AlignStage
from workbench.plugin import Config


class TunedConfig(Config):
    """Configuration."""

    strength: float = 0.0
    """How good the model is."""
    gift: float = 0.0
    """How good at what one of the evaluations asks."""


class Tuned(AlignStage[TunedConfig]):
    """Writes its configuration into the model's."""

    name = "tuned"
    Config = TunedConfig
    optional = frozenset({"data"})

    def align(self, model, data, out, run):
        """Not called: the whole stage is light."""
        raise NotImplementedError

    def execute(self, inputs, outputs, run):
        """Write a model."""
        out = outputs["out"]
        out.mkdir()
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (out / name).write_bytes((inputs["model"] / name).read_bytes())
        content = {"model_type": "llama", "strength": self.config.strength, "gift": self.config.gift}
        (out / "config.json").write_text(json.dumps(content))
        save_file({"weight": np.array([self.config.strength])}, out / "model.safetensors")
        run.metric("strength", self.config.strength)


@hookimpl
def workbench_plugins():
    """Offer the stage."""
    return [Tuned]
