"""What the configurations of plugins on TRL's trainers share."""

from __future__ import annotations

from pydantic import Field

from workbench.kinds.training import OptimizerConfig
from workbench.plugin import Config


class PostTrainingConfig(Config):
    """Length, batches, log and checkpoints; :func:`workbench_trl.trainer.post_training_arguments` passes them on.

    A plugin gives ``steps``, ``batch_size`` and ``optimizer`` again, with its own defaults.
    """

    steps: int = Field(300, ge=1)
    """Optimizer steps."""
    batch_size: int = Field(16, ge=1)
    """Examples in one forward pass."""
    gradient_accumulation: int = Field(1, ge=1)
    """Forward passes of one optimizer step."""
    max_length: int = Field(256, ge=8)
    """Longer sequences are cut, tokens."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Optimizer and schedule."""
    max_gradient_norm: float = Field(1.0, gt=0)
    """Gradients are scaled down to this global L2 norm."""
    logging_steps: int = Field(10, ge=1)
    """Steps between two rows of the training log."""
    save_steps: int = Field(50, ge=1)
    """Steps between two checkpoints, from which a killed run goes on."""

    @property
    def total_examples(self) -> int:
        """Examples that the whole training sees."""
        return self.steps * self.batch_size * self.gradient_accumulation
