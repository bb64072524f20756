"""Kahneman-Tversky optimisation, on TRL's KTOTrainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field
from workbench_trl.config import PostTrainingConfig

from workbench import hookimpl
from workbench.artifacts import examples
from workbench.errors import ArtifactError
from workbench.estimate import Estimate
from workbench.kinds.align import AlignStage
from workbench.kinds.training import OptimizerConfig
from workbench.models import cost as model_cost
from workbench.run import Run

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Rows = Sequence[Mapping[str, Any]]


class KtoConfig(PostTrainingConfig):
    """Configuration of the plugin ``kto``."""

    steps: int = Field(150, ge=1)
    """Optimizer steps."""
    batch_size: int = Field(16, ge=2)
    """Pairs in one forward pass; each gives a desirable and an undesirable example."""
    beta: float = Field(0.1, gt=0)
    """Strength of the tie to the reference model: greater is closer."""
    desirable_weight: float = Field(1.0, gt=0)
    """Weight of the loss on desirable examples."""
    undesirable_weight: float = Field(1.0, gt=0)
    """Weight of the loss on undesirable examples."""
    optimizer: OptimizerConfig = OptimizerConfig(name="adamw", learning_rate=2e-4)
    """Optimizer and schedule."""


class Kto(AlignStage[KtoConfig]):
    """Kahneman-Tversky optimisation with TRL (Ethayarajh et al. 2024, https://arxiv.org/abs/2402.01306).

    Every answer is judged on its own, as desirable or not, against what the model gains on answers to other prompts. The
    reference is the model that training starts from; its log-probabilities are computed once, before training.
    """

    name = "kto"
    Config = KtoConfig

    def estimate(self, inputs: Mapping[str, Path]) -> Estimate:
        """As many tokens as both answers of the pairs may have at most, learnt once and read thrice for reference."""
        config = self.config
        tokens = 2 * config.total_examples * config.max_length
        model = model_cost.of_model(inputs["model"])
        if model is None:
            return Estimate(0, "FLOP", tokens=tokens)
        flops = model.training_flops(tokens, config.max_length) + 3 * model.forward_flops(tokens, config.max_length)
        memory = model.training_memory(2 * config.batch_size * config.max_length)
        return Estimate(flops, "FLOP", tokens=tokens, flops=flops, memory=memory)

    def align(self, model: Path, data: Path, out: Path, run: Run) -> None:
        """Load, draw pairs, part them, train, save."""
        from workbench_trl import trainer as on_trl

        from workbench.models.pretrained import load_causal_model, load_tokenizer
        from workbench.training import trainer as shared

        shared.set_up_torch(run)
        tokenizer = load_tokenizer(model)
        pairs = self._pairs(data, tokenizer, run)
        run.metric("steps", self.config.steps)
        run.metric("pairs", len(pairs))
        start = load_causal_model(model, attention=run.compute.attn_implementation)
        shared.require_window(start, self.config.max_length, run)
        judged = shared.in_memory(_parted(pairs, self.config.batch_size), ["prompt", "completion", "label"])
        trainer = on_trl.train(lambda: self._trainer(start, tokenizer, judged, run), run)
        shared.save(trainer, tokenizer, out)

    def _pairs(self, data: Path, tokenizer: PreTrainedTokenizerBase, run: Run) -> Rows:
        """Whole batches of drawn pairs whose prompt leaves room for an answer; one smaller batch where there are too few."""
        drawn = examples.sample(data, "train", self.config.total_examples, run.seed)
        prompts = tokenizer.apply_chat_template([row["prompt"] for row in drawn], add_generation_prompt=True)["input_ids"]
        pairs = [row for row, ids in zip(drawn, prompts, strict=True) if len(ids) < self.config.max_length]
        if len(pairs) < 2:
            what = f"{len(pairs)} of {len(drawn)} pairs have a prompt shorter than max_length, and kto needs two"
            raise ArtifactError(what, f"{data}, split train", "raise max_length in params.yaml, or add pairs")
        return pairs[: max(len(pairs) // self.config.batch_size, 1) * self.config.batch_size]

    def _trainer(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, judged: Dataset, run: Run) -> Any:
        from trl import KTOConfig, KTOTrainer
        from workbench_trl.trainer import post_training_arguments

        from workbench.training.optimizers import build
        from workbench.training.trainer import Reporter

        config = self.config
        arguments = KTOConfig(
            **post_training_arguments(run, config, batch_size=2 * config.batch_size),
            beta=config.beta,
            desirable_weight=config.desirable_weight,
            undesirable_weight=config.undesirable_weight,
            precompute_ref_log_probs=True,
            precompute_ref_batch_size=8 * config.batch_size,
        )
        return KTOTrainer(
            model=model,
            args=arguments,
            train_dataset=judged,
            processing_class=tokenizer,
            optimizers=build(model, config.optimizer, config.steps, run),
            callbacks=[Reporter(run, "kto")],
        )


def _parted(pairs: Rows, batch_size: int) -> list[dict[str, Any]]:
    """The examples of the pairs, batch by batch, the desirable ones of a batch before the undesirable ones.

    TRL gives each prompt of a batch the answer before it, to estimate how much the model gains on answers to other prompts.
    In this order that answer is never the other one of the same pair, as it would be if pairs stood together.
    """
    parted = []
    for start in range(0, len(pairs), batch_size):
        batch = pairs[start : start + batch_size]
        for side, label in (("chosen", True), ("rejected", False)):
            parted += [{"id": pair["id"], "prompt": pair["prompt"], "completion": pair[side], "label": label} for pair in batch]
    return parted


@hookimpl
def workbench_plugins() -> list[type[Kto]]:
    """Offer the plugin."""
    return [Kto]
