"""Supervised fine-tuning on conversations, on TRL's SFTTrainer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from workbench_trl.config import PostTrainingConfig

from workbench import hookimpl
from workbench.artifacts import examples
from workbench.errors import PluginError
from workbench.estimate import Estimate
from workbench.kinds.sft import SftStage
from workbench.kinds.training import OptimizerConfig
from workbench.models import cost as model_cost
from workbench.plugin import Config
from workbench.run import Run

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class LoraConfig(Config):
    """Low-rank adapters (LoRA, Hu et al. 2021): a weight W becomes W + alpha / r · B·A, of which A and B alone are trained."""

    r: int = Field(16, ge=1)
    """Rank of an adapter."""
    alpha: int = Field(32, ge=1)
    """Adapters are scaled by alpha / r."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of an adapter's inputs that is dropped in training."""
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    """Names of the linear layers that get an adapter, such as ``q_proj``; ``all-linear`` is all but the output head."""


class TrlConfig(PostTrainingConfig):
    """Configuration of the plugin ``trl``."""

    steps: int = Field(300, ge=1)
    """Optimizer steps."""
    batch_size: int = Field(32, ge=1)
    """Conversations in one forward pass."""
    group_by_length: bool = True
    """Whether conversations of like length share a batch, which saves padding; the batches come in a random order."""
    optimizer: OptimizerConfig = OptimizerConfig(name="muon", matrix_learning_rate=6e-3, learning_rate=1.5e-3)
    """Optimizer and schedule."""
    peft: LoraConfig | None = None
    """Adapters that are trained in the model's place and merged into the saved model; null trains every weight."""


class Trl(SftStage[TrlConfig]):
    """Supervised fine-tuning with TRL, with a loss on the assistant's tokens alone (Ouyang et al. 2022)."""

    name = "trl"
    Config = TrlConfig

    def external_inputs(self) -> Mapping[str, str]:
        """The version of peft where adapters are asked for; nothing else depends on it."""
        from importlib import metadata

        if self.config.peft is None:
            return {}
        try:
            return {"peft": metadata.version("peft")}
        except metadata.PackageNotFoundError as error:
            fix = "pip install 'pionero-workbench-sft-trl[peft]', or remove the section"
            raise PluginError("`peft:` needs a package that is not installed", "sft 'trl'", fix) from error

    def estimate(self, inputs: Mapping[str, Path]) -> Estimate:
        """As many tokens as the conversations may have at most, read and learnt."""
        config = self.config
        tokens = config.total_examples * config.max_length
        model = model_cost.of_model(inputs["model"])
        if model is None:
            return Estimate(0, "FLOP", tokens=tokens)
        flops = model.training_flops(tokens, config.max_length)
        memory = model.training_memory(config.batch_size * config.max_length)
        return Estimate(flops, "FLOP", tokens=tokens, flops=flops, memory=memory)

    def finetune(self, model: Path, conversations: Path, out: Path, run: Run) -> None:
        """Load, draw and encode conversations, train, save.

        Raises:
            ArtifactError: no conversation can be learnt from, or ``max_length`` cuts or leaves out too many.
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
        ledger = Ledger("conversations", self.config.max_length, self.config.max_cut_share)
        rows = encoded.conversations(
            examples.sample(conversations, "train", self.config.total_examples, run.seed), tokenizer, ledger
        )
        ledger.close(run, f"{conversations}, split train", on_trl.window_of(start))
        if self.config.peft:
            from workbench_sft_trl import adapters

            start = adapters.attach(start, self.config.peft, run)
        data = shared.in_memory(rows, ["input_ids", "labels"])
        trainer = on_trl.train(lambda: self._trainer(start, tokenizer, data, run), run)
        if self.config.peft:
            trainer.model = adapters.merge(trainer.model)
        shared.save(trainer, tokenizer, out)

    def _trainer(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, data: Dataset, run: Run) -> Any:
        from trl import SFTConfig
        from workbench_trl.trainer import post_training_arguments

        from workbench.training.optimizers import build
        from workbench.training.trainer import Reporter
        from workbench_sft_trl.lengths import LengthGroupedTrainer

        config = self.config
        arguments = SFTConfig(
            **post_training_arguments(run, config, batch_size=config.batch_size),
            train_sampling_strategy="group_by_length" if config.group_by_length else "random",
        )
        return LengthGroupedTrainer(
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
