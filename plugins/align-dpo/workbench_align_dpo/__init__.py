"""Direct preference optimisation, on TRL's DPOTrainer."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from workbench import hookimpl
from workbench.artifacts import examples
from workbench.kinds.align import AlignStage
from workbench.kinds.training import OptimizerConfig
from workbench.plugin import Config
from workbench.run import Run

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class DpoConfig(Config):
    """Configuration of the plugin ``dpo``."""

    steps: int = Field(150, ge=1)
    """Optimizer steps."""
    batch_size: int = Field(16, ge=1)
    """Pairs in one forward pass."""
    gradient_accumulation: int = Field(1, ge=1)
    """Forward passes of one optimizer step."""
    order: Literal["shuffled", "written"] = "shuffled"
    """``shuffled`` draws pairs at random; ``written`` takes them as the data has them, which keeps coupled pairs in one batch."""
    max_length: int = Field(256, ge=8)
    """Longer sequences are cut, tokens."""
    beta: float = Field(0.1, gt=0)
    """Strength of the tie to the reference model: greater is closer."""
    loss: Literal["sigmoid", "hinge", "ipo"] = "sigmoid"
    """``sigmoid`` is DPO, ``hinge`` SLiC (Zhao et al. 2023), ``ipo`` IPO (Azar et al. 2023)."""
    optimizer: OptimizerConfig = OptimizerConfig(name="adamw", learning_rate=2e-4)
    """Optimizer and schedule."""
    max_gradient_norm: float = Field(1.0, gt=0)
    """Gradients are scaled down to this global L2 norm."""
    logging_steps: int = Field(10, ge=1)
    """Steps between two rows of the training log."""
    save_steps: int = Field(50, ge=1)
    """Steps between two checkpoints, from which a killed run goes on."""


class Dpo(AlignStage[DpoConfig]):
    """Direct preference optimisation with TRL (Rafailov et al. 2023, https://arxiv.org/abs/2305.18290).

    The reference is the model that training starts from; its log-probabilities are computed once, before training.
    """

    name = "dpo"
    Config = DpoConfig

    def align(self, model: Path, data: Path, out: Path, run: Run) -> None:
        """Load, draw pairs, train, save, show margins."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from workbench import model_types
        from workbench import trainer as shared

        shared.set_up_torch(run)
        model_types.register(model)
        tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
        number = self.config.steps * self.config.batch_size * self.config.gradient_accumulation
        if self.config.order == "shuffled":
            rows = examples.sample(data, "train", number, run.seed)
        else:
            rows = list(islice(examples.read(data, "train"), number))
        run.metric("steps", self.config.steps)
        run.metric("pairs", len(rows))
        start = AutoModelForCausalLM.from_pretrained(model, local_files_only=True)
        trainer = self._trainer(start, tokenizer, shared.in_memory(rows, ["prompt", "chosen", "rejected"]), run)
        shared.train(trainer, run)
        shared.save(trainer, tokenizer, out)

    def _trainer(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Dataset, run: Run) -> Any:
        from trl import DPOConfig, DPOTrainer

        from workbench.labelled_head import LabelledDPOTrainer
        from workbench.optimizers import build
        from workbench.trainer import Reporter, common_arguments

        config = self.config
        arguments = DPOConfig(
            **common_arguments(run, steps=config.steps, logging_steps=config.logging_steps, save_steps=config.save_steps),
            per_device_train_batch_size=config.batch_size,
            gradient_accumulation_steps=config.gradient_accumulation,
            activation_checkpointing=False,
            max_grad_norm=config.max_gradient_norm,
            max_length=config.max_length,
            train_sampling_strategy="random" if config.order == "shuffled" else "sequential",
            beta=config.beta,
            loss_type=[config.loss],
            precompute_ref_log_probs=True,
            precompute_ref_batch_size=4 * config.batch_size,
        )
        trainer_class = LabelledDPOTrainer if run.compute.device == "cpu" else DPOTrainer
        return trainer_class(
            model=model,
            args=arguments,
            train_dataset=pairs,
            processing_class=tokenizer,
            optimizers=build(model, config.optimizer, config.steps, run),
            callbacks=[Reporter(run, "dpo")],
        )


@hookimpl
def workbench_plugins() -> list[type[Dpo]]:
    """Offer the plugin."""
    return [Dpo]
