"""Direct preference optimisation, on TRL's DPOTrainer."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from workbench_trl.config import PostTrainingConfig

from workbench import hookimpl
from workbench.artifacts import examples
from workbench.estimate import Estimate
from workbench.kinds.align import AlignStage
from workbench.kinds.training import OptimizerConfig
from workbench.models import cost as model_cost
from workbench.run import Run

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class DpoConfig(PostTrainingConfig):
    """Configuration of the plugin ``dpo``."""

    steps: int = Field(150, ge=1)
    """Optimizer steps."""
    batch_size: int = Field(16, ge=1)
    """Pairs in one forward pass."""
    order: Literal["shuffled", "written"] = "shuffled"
    """``shuffled`` draws pairs at random; ``written`` draws whole batches and keeps the data's order, so that coupled pairs which
    stand together share a batch."""
    beta: float = Field(0.1, gt=0)
    """Strength of the tie to the reference model: greater is closer."""
    loss: Literal["sigmoid", "hinge", "ipo"] = "sigmoid"
    """``sigmoid`` is DPO, ``hinge`` SLiC (Zhao et al. 2023), ``ipo`` IPO (Azar et al. 2023)."""
    optimizer: OptimizerConfig = OptimizerConfig(name="adamw", learning_rate=2e-4)
    """Optimizer and schedule."""


class Dpo(AlignStage[DpoConfig]):
    """Direct preference optimisation with TRL (Rafailov et al. 2023, https://arxiv.org/abs/2305.18290).

    The reference is the model that training starts from; its log-probabilities are computed once, before training.
    """

    name = "dpo"
    Config = DpoConfig

    def estimate(self, inputs: Mapping[str, Path]) -> Estimate:
        """As many tokens as both answers of the pairs may have at most, learnt by the policy and read by the reference."""
        config = self.config
        tokens = 2 * config.total_examples * config.max_length
        model = model_cost.of_model(inputs["model"])
        if model is None:
            return Estimate(0, "FLOP", tokens=tokens)
        flops = model.training_flops(tokens, config.max_length) + model.forward_flops(tokens, config.max_length)
        memory = model.training_memory(2 * config.batch_size * config.max_length)
        return Estimate(flops, "FLOP", tokens=tokens, flops=flops, memory=memory)

    def align(self, model: Path, data: Path, out: Path, run: Run) -> None:
        """Load, draw and encode pairs, train, save.

        Raises:
            ArtifactError: no pair can be learnt from, or ``max_length`` cuts or leaves out too many.
        """
        from workbench_trl import encoded
        from workbench_trl import trainer as on_trl
        from workbench_trl.ledger import Ledger

        from workbench.models.pretrained import load_causal_model, load_tokenizer
        from workbench.training import trainer as shared

        shared.set_up_torch(run)
        tokenizer = load_tokenizer(model)
        start = load_causal_model(model, attention=run.compute.attn_implementation)
        shared.require_window(start, self.config.max_length, run)
        run.metric("steps", self.config.steps)
        ledger = Ledger("pairs", self.config.max_length, self.config.max_cut_share)
        rows = encoded.pairs(self._drawn(data, run.seed), tokenizer, ledger)
        ledger.close(run, f"{data}, split train", on_trl.window_of(start))
        pairs = shared.in_memory(rows, ["prompt_ids", "chosen_ids", "rejected_ids"])
        trainer = on_trl.train(lambda: self._trainer(start, tokenizer, pairs, run), run)
        shared.save(trainer, tokenizer, out)

    def _drawn(self, data: Path, seed: int) -> list[dict[str, Any]]:
        number, size = self.config.total_examples, self.config.batch_size
        if self.config.order == "shuffled":
            return examples.sample(data, "train", number, seed)
        rows = list(examples.read(data, "train"))
        batches = [rows[start : start + size] for start in range(0, len(rows), size)]
        if len(rows) > number:  # each batch is whole but the last, which is left over
            batches = [batches[place] for place in sorted(random.Random(seed).sample(range(len(rows) // size), number // size))]
        return [row for batch in batches for row in batch]

    def _trainer(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Dataset, run: Run) -> Any:
        from trl import DPOConfig, DPOTrainer
        from workbench_trl.trainer import Encoded, post_training_arguments

        from workbench.training.optimizers import build
        from workbench.training.trainer import Reporter

        class EncodedDPOTrainer(Encoded, DPOTrainer):
            """TRL's trainer on conversations that are encoded already."""

        config = self.config
        arguments = DPOConfig(
            **post_training_arguments(run, config, batch_size=config.batch_size),
            train_sampling_strategy="random" if config.order == "shuffled" else "sequential",
            beta=config.beta,
            loss_type=[config.loss],
            precompute_ref_log_probs=True,
            precompute_ref_batch_size=4 * config.batch_size,
        )
        return EncodedDPOTrainer(
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
