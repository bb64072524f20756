"""The n-gram model as transformers knows models: a configuration, a class, tables as weights in safetensors.

Shapes: B sequences of T tokens, V vocabulary, N order.
"""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from workbench_pretrain_ngram import smoothing
from workbench_pretrain_ngram.counting import Floats, Integers, Table, Trie
from workbench_pretrain_ngram.lookup import Lookup


class NgramConfig(PreTrainedConfig):
    """What ``config.json`` holds of an n-gram model."""

    model_type = "ngram"

    vocab_size: int = 1
    order: int = 1
    smoothing: str = "kneser-ney"
    ngrams: list[int] | None = None
    """Different n-grams of the orders 2 … N."""
    estimates: int = 1
    """Numbers that the smoothing method estimates for each order."""
    code: str = ""
    """Hash of the code that turns the counts into probabilities; another code is another model."""
    tie_word_embeddings: bool = False


class NgramForCausalLM(PreTrainedModel, GenerationMixin):
    """An n-gram language model; its logits are natural logarithms of probabilities.

    The weights are the counts, as they were counted, and the discounts. Probabilities are worked out once, when the model
    is first asked, on the processor; nothing of it can be trained by gradients.
    """

    config_class = NgramConfig
    base_model_prefix = "ngram"
    _no_split_modules: list[str] = []  # noqa: RUF012 - transformers' own convention

    def __init__(self, config: NgramConfig) -> None:
        super().__init__(config)
        sizes = config.ngrams or []
        self.register_buffer("discounts", torch.zeros(config.order, config.estimates))  # a parameter would seem trainable
        self.counts = nn.ParameterList(_integers(size) for size in [config.vocab_size, *sizes])
        self.keys = nn.ParameterList(_integers(size) for size in sizes)
        self._lookup: Lookup | None = None
        self.post_init()

    @property
    def dtype(self) -> torch.dtype:
        """Of the logits; no parameter tells it, since all are integers."""
        return torch.float32

    @classmethod
    def of(cls, trie: Trie, discounts: Floats, config: NgramConfig) -> NgramForCausalLM:
        """The model of these counts."""
        model = cls(config)
        model.discounts.copy_(torch.from_numpy(discounts))
        for parameter, table in zip(model.counts, trie.tables, strict=True):
            parameter.copy_(torch.from_numpy(table.counts))
        for parameter, table in zip(model.keys, trie.tables[1:], strict=True):
            parameter.copy_(torch.from_numpy(table.keys))
        return model

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        logits_to_keep: int = 0,
        use_cache: bool | None = None,
        return_dict: bool | None = None,
    ) -> CausalLMOutput:
        """Log-probabilities (B, T, V) of what follows each position, or each of the last ``logits_to_keep``.

        ``labels`` (B, T) are shifted here, and those of -100 ignored, as in every causal model of transformers.
        ``use_cache`` and ``return_dict`` are what its callers pass; they change nothing.
        """
        tokens: Integers = input_ids.cpu().numpy()
        mask = np.ones(tokens.shape, bool) if attention_mask is None else attention_mask.cpu().numpy().astype(bool)
        found = self._probabilities().log_probabilities(tokens, mask, logits_to_keep or tokens.shape[1])
        logits = torch.from_numpy(found).to(input_ids.device)
        loss = None if labels is None else self.loss_function(logits, labels, self.config.vocab_size)
        return CausalLMOutput(loss=loss, logits=logits)

    def prepare_inputs_for_generation(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any
    ) -> dict[str, Any]:
        """No more of the text than the longest context, and the last position alone: a step costs the same throughout."""
        last = slice(-max(1, self.config.order - 1), None)
        mask = None if attention_mask is None else attention_mask[:, last]
        return {"input_ids": input_ids[:, last], "attention_mask": mask, "logits_to_keep": 1}

    def trie(self) -> Trie:
        """The counts."""
        counts = [parameter.detach().cpu().numpy().astype(np.int64) for parameter in self.counts]
        keys = [np.arange(self.config.vocab_size), *(parameter.detach().cpu().numpy() for parameter in self.keys)]
        return Trie(tuple(Table(*pair) for pair in zip(keys, counts, strict=True)), self.config.vocab_size)

    def smoothed(self) -> smoothing.Smoothed:
        """The probabilities."""
        discounts = self.discounts.detach().cpu().numpy().astype(np.float64)
        return smoothing.smooth(self.trie(), self.config.smoothing, discounts, self.config.bos_token_id)

    def _probabilities(self) -> Lookup:
        if self._lookup is None:
            self._lookup = Lookup(self.trie(), self.smoothed())
        return self._lookup

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # a context is the text itself; there is nothing to keep


def _integers(size: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(size, dtype=torch.int64), requires_grad=False)


def code_digest() -> str:
    """Hash of the modules that a model's probabilities depend on, without their layout and comments."""
    digest = hashlib.sha256()
    for name in ("counting", "smoothing", "lookup", "modeling"):
        source = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
        digest.update(ast.dump(ast.parse(source)).encode())
    return digest.hexdigest()[:32]


def register() -> None:
    """Make the Auto classes of transformers know the type; repeating it changes nothing."""
    AutoConfig.register(NgramConfig.model_type, NgramConfig, exist_ok=True)
    AutoModelForCausalLM.register(NgramConfig, NgramForCausalLM, exist_ok=True)
