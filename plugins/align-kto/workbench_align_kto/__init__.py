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
    from workbench_trl.encoded import Pair


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
        """Load, draw and encode pairs, part them, train, save.

        Raises:
            ArtifactError: fewer than two pairs can be learnt from, or ``max_length`` cuts or leaves out too many.
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
        drawn = examples.sample(data, "train", self.config.total_examples, run.seed)
        pairs = encoded.pairs(drawn, tokenizer, ledger)
        ledger.close(run, f"{data}, split train", on_trl.window_of(start))
        whole = self._whole_batches(pairs, data)
        run.metric("pairs", len(whole))
        run.metric("pairs_outside_batches", len(pairs) - len(whole))
        judged = shared.in_memory(
            _parted(whole, self.config.batch_size), ["prompt_ids", "completion_ids", "KL_completion_ids", "label"]
        )
        trainer = on_trl.train(lambda: self._trainer(start, tokenizer, judged, run), run)
        shared.save(trainer, tokenizer, out)

    def _whole_batches(self, pairs: list[Pair], data: Path) -> list[Pair]:
        """The first of them, or one smaller batch where there are too few."""
        if len(pairs) < 2:
            what = "one pair is left, and kto estimates its reference point from answers to other prompts"
            raise ArtifactError(what, f"{data}, split train", "add pairs, or raise max_length in params.yaml")
        return pairs[: max(len(pairs) // self.config.batch_size, 1) * self.config.batch_size]

    def _trainer(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, judged: Dataset, run: Run) -> Any:
        from trl import KTOConfig, KTOTrainer
        from workbench_trl.trainer import Encoded, post_training_arguments

        from workbench.training.optimizers import build
        from workbench.training.trainer import Reporter

        class EncodedKTOTrainer(Encoded, KTOTrainer):
            """TRL's trainer on conversations that are encoded already."""

        config = self.config
        arguments = KTOConfig(
            **post_training_arguments(run, config, batch_size=2 * config.batch_size),
            beta=config.beta,
            desirable_weight=config.desirable_weight,
            undesirable_weight=config.undesirable_weight,
            precompute_ref_log_probs=True,
            precompute_ref_batch_size=8 * config.batch_size,
        )
        return EncodedKTOTrainer(
            model=model,
            args=arguments,
            train_dataset=judged,
            processing_class=tokenizer,
            optimizers=build(model, config.optimizer, config.steps, run),
            callbacks=[Reporter(run, "kto")],
        )


def _parted(pairs: Sequence[Pair], batch_size: int) -> list[dict[str, Any]]:
    """The examples of the pairs, batch by batch, the desirable ones of a batch before the undesirable ones.

    As in TRL, each prompt of a batch is given the answer before it too, to estimate how much the model gains on answers to other
    prompts. In this order that answer is never the other one of the same pair, as it would be if pairs stood together.
    """
    parted = []
    for start in range(0, len(pairs), batch_size):
        batch = pairs[start : start + batch_size]
        judged = [(pair, pair["chosen_ids"], True) for pair in batch] + [(pair, pair["rejected_ids"], False) for pair in batch]
        for place, (pair, answer, label) in enumerate(judged):
            other = judged[place - 1][1]
            example = {"prompt_ids": pair["prompt_ids"], "completion_ids": answer, "KL_completion_ids": other, "label": label}
            parted.append({"id": pair["id"], **example})
    return parted


@hookimpl
def workbench_plugins() -> list[type[Kto]]:
    """Offer the plugin."""
    return [Kto]
