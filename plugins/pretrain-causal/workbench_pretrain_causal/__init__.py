"""Pretraining of causal language models from scratch, on the Trainer of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from workbench import hookimpl
from workbench.artifacts.corpus import Corpus
from workbench.estimate import Estimate
from workbench.kinds.pretrain import PretrainStage
from workbench.kinds.training import OptimizerConfig, SaveSteps
from workbench.models import cost as model_cost
from workbench.models import types as model_types
from workbench.plugin import Config
from workbench.run import Run

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DEFAULT_ARCHITECTURE = {
    "model_type": "llama",
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "intermediate_size": 768,
    "tie_word_embeddings": True,
}


DEFAULT_VOCABULARY = 4096
"""Size that a plan takes for a tokenizer that is not there yet."""


class CausalConfig(Config):
    """Configuration of the plugin ``causal``."""

    architecture: dict[str, Any] = DEFAULT_ARCHITECTURE
    """Passed to ``AutoConfig.for_model``: ``model_type``, of transformers or of an installed plugin, and that type's own fields;
    vocabulary, special tokens and positions are filled in."""
    context_length: int = Field(256, ge=8)
    """Length of a training sequence, tokens."""
    tokens: int = Field(1_300_000, gt=0)
    """Training budget, tokens; rounded up to whole steps."""
    batch_size: int = Field(8, ge=1)
    """Sequences in one forward pass."""
    gradient_accumulation: int = Field(1, ge=1)
    """Forward passes of one optimizer step."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass, for less memory and more time."""
    optimizer: OptimizerConfig = OptimizerConfig(name="muon", learning_rate=4e-3, warmup_steps=20, decay_share=0.6)
    """Optimizer and schedule."""
    max_gradient_norm: float = Field(1.0, gt=0)
    """Gradients are scaled down to this global L2 norm."""
    logging_steps: int = Field(20, ge=1)
    """Steps between two rows of the training log."""
    save_steps: SaveSteps = 100
    """Steps between two checkpoints, from which a killed run goes on."""

    @field_validator("architecture")
    @classmethod
    def _needs_a_model_type(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(value.get("model_type"), str):
            raise ValueError("architecture needs a model_type, such as llama")  # noqa: TRY004 - pydantic reads ValueError
        return value

    @property
    def steps(self) -> int:
        """Optimizer steps that spend the budget."""
        return -(-self.tokens // self.tokens_per_step)

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one optimizer step."""
        return self.batch_size * self.gradient_accumulation * self.context_length


class Causal(PretrainStage[CausalConfig]):
    """Pretrains any causal ``model_type`` of transformers or of a plugin by next-token prediction (Radford et al. 2019).

    Documents are packed: joined with the end-of-sequence token between them and cut into sequences of
    ``context_length``, which are visited in a seeded random order, epoch after epoch, until the budget is spent.
    """

    name = "causal"
    Config = CausalConfig

    def estimate(self, inputs: Mapping[str, Path]) -> Estimate:
        """The budget times what a token costs a model of this architecture."""
        config = self.config
        vocabulary = int(config.architecture.get("vocab_size", DEFAULT_VOCABULARY))
        if "tokenizer" in inputs:
            vocabulary = model_cost.vocabulary_of(inputs["tokenizer"], vocabulary)
        model = model_cost.of_architecture(config.architecture, vocabulary)
        tokens = config.steps * config.tokens_per_step
        memory = model.training_memory(config.batch_size * config.context_length, checkpointing=config.activation_checkpointing)
        flops = model.training_flops(tokens, config.context_length)
        return Estimate(flops, "FLOP", tokens=tokens, flops=flops, memory=memory)

    def external_inputs(self) -> dict[str, str]:
        """The code of a model class that a plugin brings."""
        return model_types.code_of(self.config.architecture["model_type"])

    def examine(self, where: str) -> None:
        """Refuse an architecture of which no model can be made."""
        if not _needs_no_look(self.config.architecture):
            from workbench_pretrain_causal import architecture

            vocabulary = int(self.config.architecture.get("vocab_size", DEFAULT_VOCABULARY))
            architecture.examine(self.config.architecture, vocabulary, self.config.context_length, where)

    def pretrain(self, corpus: Corpus, tokenizer: Path, out: Path, run: Run) -> None:
        """Pack, build, train, save."""
        from workbench.models.pretrained import load_tokenizer
        from workbench.training import trainer as shared
        from workbench_pretrain_causal.packing import pack

        shared.set_up_torch(run)
        loaded = load_tokenizer(tokenizer)
        sequences = pack(corpus, tokenizer, loaded.eos_token_id, self.config.context_length)
        run.metric("steps", self.config.steps)
        run.metric("sequences", len(sequences))
        run.metric("epochs", self.config.tokens / sequences.tokens.size)
        model = build(self.config, loaded, run.compute.attn_implementation, f"params.yaml, stage {run.stage}, key ")
        run.metric("parameters", sum(parameter.numel() for parameter in model.parameters()))
        trainer = self._trainer(model, sequences, run)
        shared.train(trainer, run)
        shared.save(trainer, loaded, out, self.config.tokens_per_step)

    def _trainer(self, model: PreTrainedModel, sequences: Any, run: Run) -> Any:
        from transformers import Trainer, TrainingArguments

        from workbench.training.optimizers import build as build_optimizer
        from workbench.training.trainer import Reporter, common_arguments

        config = self.config
        arguments = TrainingArguments(
            **common_arguments(run, steps=config.steps, logging_steps=config.logging_steps, save_steps=config.save_steps),
            per_device_train_batch_size=config.batch_size,
            gradient_accumulation_steps=config.gradient_accumulation,
            activation_checkpointing=config.activation_checkpointing,
            max_grad_norm=config.max_gradient_norm,
        )
        return Trainer(
            model=model,
            args=arguments,
            train_dataset=sequences,
            optimizers=build_optimizer(model, config.optimizer, config.steps, run),
            callbacks=[Reporter(run, "pretrain", config.tokens_per_step)],
        )


def build(config: CausalConfig, tokenizer: PreTrainedTokenizerBase, attention: str | None, where: str) -> PreTrainedModel:
    """A model with fresh weights; ``where`` stands before the name of a key in errors.

    Raises:
        ParamsError: the type is no causal model, reads later tokens, or refuses a field.
        PluginError: neither transformers nor an installed distribution knows the type.
    """
    from workbench_pretrain_causal import architecture

    needed = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": config.context_length,
        "bos_token_id": tokenizer.eos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    made = architecture.configure(config.architecture, needed, where)
    return architecture.create(made, attention, config.context_length, config.architecture, where)


def _needs_no_look(architecture: Mapping[str, Any]) -> bool:
    """Whether it is the default but for sizes, which fit each other; to look at the classes of transformers takes seconds."""
    if architecture["model_type"] != "llama" or architecture.keys() != DEFAULT_ARCHITECTURE.keys():
        return False
    if any(type(architecture[key]) is not type(value) for key, value in DEFAULT_ARCHITECTURE.items()):
        return False
    width, heads, shared = (architecture[key] for key in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
    sizes = (width, heads, shared, architecture["num_hidden_layers"], architecture["intermediate_size"])
    return bool(min(sizes) > 0 and width % (2 * heads) == 0 and heads % shared == 0)  # a head's width is even, for its rotations


@hookimpl
def workbench_plugins() -> list[type[Causal]]:
    """Offer the plugin."""
    return [Causal]
