"""Supervised fine-tuning on conversations, on TRL's SFTTrainer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from workbench import hookimpl
from workbench.artifacts import examples
from workbench.kinds.sft import SftStage
from workbench.kinds.training import OptimizerConfig
from workbench.plugin import Config
from workbench.run import Run

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class TrlConfig(Config):
    """Configuration of the plugin ``trl``."""

    steps: int = Field(300, ge=1)
    """Optimizer steps."""
    batch_size: int = Field(32, ge=1)
    """Conversations in one forward pass."""
    gradient_accumulation: int = Field(1, ge=1)
    """Forward passes of one optimizer step."""
    max_length: int = Field(256, ge=8)
    """Longer conversations are cut, tokens."""
    group_by_length: bool = True
    """Whether conversations of like length share a batch, which saves padding."""
    optimizer: OptimizerConfig = OptimizerConfig(name="muon", matrix_learning_rate=6e-3, learning_rate=1.5e-3)
    """Optimizer and schedule."""
    max_gradient_norm: float = Field(1.0, gt=0)
    """Gradients are scaled down to this global L2 norm."""
    logging_steps: int = Field(10, ge=1)
    """Steps between two rows of the training log."""
    save_steps: int = Field(50, ge=1)
    """Steps between two checkpoints, from which a killed run goes on."""


class Trl(SftStage[TrlConfig]):
    """Supervised fine-tuning with TRL, with a loss on the assistant's tokens alone (Ouyang et al. 2022)."""

    name = "trl"
    Config = TrlConfig

    def finetune(self, model: Path, conversations: Path, out: Path, run: Run) -> None:
        """Load, draw conversations, train, save."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from workbench import model_types
        from workbench import trainer as shared

        shared.set_up_torch(run)
        model_types.register(model)
        tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
        number = self.config.steps * self.config.batch_size * self.config.gradient_accumulation
        rows = examples.sample(conversations, "train", number, run.seed)
        run.metric("steps", self.config.steps)
        run.metric("conversations", len(rows))
        start = AutoModelForCausalLM.from_pretrained(model, local_files_only=True)
        trainer = self._trainer(start, tokenizer, shared.in_memory(rows, ["messages"]), run)
        shared.train(trainer, run)
        shared.save(trainer, tokenizer, out)

    def _trainer(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, data: Dataset, run: Run) -> Any:
        from trl import SFTConfig, SFTTrainer

        from workbench.labelled_head import LabelledSFTTrainer
        from workbench.optimizers import build
        from workbench.trainer import Reporter, common_arguments

        config = self.config
        arguments = SFTConfig(
            **common_arguments(run, steps=config.steps, logging_steps=config.logging_steps, save_steps=config.save_steps),
            per_device_train_batch_size=config.batch_size,
            gradient_accumulation_steps=config.gradient_accumulation,
            activation_checkpointing=False,
            max_grad_norm=config.max_gradient_norm,
            max_length=config.max_length,
            assistant_only_loss=True,
            train_sampling_strategy="group_by_length" if config.group_by_length else "random",
        )
        trainer_class = LabelledSFTTrainer if run.compute.device == "cpu" else SFTTrainer
        return trainer_class(
            model=model,
            args=arguments,
            train_dataset=data,
            processing_class=tokenizer,
            optimizers=build(model, config.optimizer, config.steps, run),
            callbacks=[Reporter(run, "sft")],
        )


@hookimpl
def workbench_plugins() -> list[type[Trl]]:
    """Offer the plugin."""
    return [Trl]
