"""TRL's GRPOTrainer on a CPU. Importing this module imports torch and TRL; the plugin imports it inside its method."""

from __future__ import annotations

from typing import Any

from trl import GRPOTrainer

from workbench.training.labelled_head import labelled_head


class LabelledGRPOTrainer(GRPOTrainer):
    """GRPOTrainer whose head skips prompts and padding; answers, rewards, the loss and its gradient are TRL's."""

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """As TRL's."""
        with labelled_head():
            return super().training_step(*args, **kwargs)
