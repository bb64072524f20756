"""Configuration shared by plugins built on TRL's trainers."""

from __future__ import annotations

from pydantic import Field

from workbench.kinds.training import OptimizerConfig, SaveSteps
from workbench.plugin import Config


class PostTrainingConfig(Config):
    """Length, batches, log and checkpoints; :func:`workbench_trl.trainer.post_training_arguments` passes them on.

    A plugin redeclares ``steps``, ``batch_size`` and ``optimizer`` with its own defaults.
    """

    steps: int = Field(300, ge=1)
    """Optimizer steps."""
    batch_size: int = Field(16, ge=1)
    """Examples per forward pass."""
    gradient_accumulation: int = Field(1, ge=1)
    """Forward passes per optimizer step."""
    max_length: int = Field(256, ge=8)
    """Maximum sequence length in tokens; longer sequences are cut at their end."""
    max_cut_share: float = Field(0.05, ge=0, le=1)
    """Largest share of the rows that ``max_length`` may cut or leave out; more is an error."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Optimizer and schedule."""
    max_gradient_norm: float = Field(1.0, gt=0)
    """Gradients are clipped to this global L2 norm."""
    logging_steps: int = Field(10, ge=1)
    """Steps between rows of the training log."""
    save_steps: SaveSteps = 50
    """Steps between checkpoints, from which a killed run resumes."""

    @property
    def total_examples(self) -> int:
        """Examples seen over the whole training."""
        return self.steps * self.batch_size * self.gradient_accumulation
