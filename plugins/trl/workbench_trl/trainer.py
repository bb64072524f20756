"""Settings of TRL's trainers, and the one way to train with them.

Importing this module imports torch and TRL; plugins import it inside their domain method.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from workbench.models import encoding
from workbench.training import trainer as shared
from workbench_trl.labelled_head import labelled_head

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, Trainer

    from workbench.run import Run
    from workbench_trl.config import PostTrainingConfig


class Encoded:
    """Mixin for trainers of TRL whose rows are encoded already: nothing is rendered, cut or dropped by them any more."""

    def _prepare_dataset(self, dataset: Dataset, *_: object) -> Dataset:
        return dataset


class EncodedPrompts:
    """Mixin for trainers of TRL that sample answers: the prompts are encoded here, so that text in them stays text."""

    processing_class: Any

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        rendered = [encoding.render(self.processing_class, prompt, add_generation_prompt=True) for prompt in prompts]
        return [list(ids) for ids in encoding.encode(self.processing_class, rendered)], None, {}


def post_training_arguments(run: Run, config: PostTrainingConfig, *, batch_size: int) -> dict[str, Any]:
    """The settings that are the same for TRL's trainers, with ``batch_size`` sequences or pairs in one forward pass.

    Raises:
        ParamsError: a checkpoint would fall between two rows of the log.
    """
    return {
        **shared.common_arguments(run, steps=config.steps, logging_steps=config.logging_steps, save_steps=config.save_steps),
        "per_device_train_batch_size": batch_size,
        "gradient_accumulation_steps": config.gradient_accumulation,
        "activation_checkpointing": False,
        "max_grad_norm": config.max_gradient_norm,
        "max_length": config.max_length,
    }


def train(make: Callable[[], Trainer], run: Run) -> Trainer:
    """Make a trainer of TRL's and train as :func:`workbench.training.trainer.train` does; returns the trainer.

    On a CPU all of it happens with the labelled head. The trainer is made in here too, since the constructors of DPO's and KTO's
    compute the reference's log-probabilities, which belong to the same head as the policy's.

    Raises:
        TrainingError: the loss, a gradient or a weight is not finite, or the loss has shot up.
    """
    with labelled_head() if run.compute.device == "cpu" else nullcontext():
        trainer = make()
        shared.train(trainer, run)
    return trainer


def window_of(model: PreTrainedModel) -> int | None:
    """Tokens that the model reads at most; None where its configuration sets no limit."""
    window: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return window
