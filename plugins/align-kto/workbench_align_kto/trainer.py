"""TRL's KTOTrainer on a CPU. Importing this module imports torch and TRL; the plugin imports it inside its method."""

from __future__ import annotations

from typing import Any

from trl import KTOTrainer

from workbench.training.labelled_head import labelled_head


class LabelledKTOTrainer(KTOTrainer):
    """KTOTrainer whose head skips prompts and padding; the loss and its gradient are TRL's."""

    def compute_ref_log_probs(self, *args: Any, **kwargs: Any) -> Any:
        """As TRL's."""
        with labelled_head():
            return super().compute_ref_log_probs(*args, **kwargs)

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        """As TRL's."""
        with labelled_head():
            return super().compute_loss(*args, **kwargs)
