"""What models cost, estimated from their configuration and the headers of their weights: parameters, operations, memory.

Nothing here imports torch. The numbers are for planning, accurate to a factor and not to a digit: they count dense decoder
layers, so a mixture of experts counts one expert.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from workbench.estimate import Estimate

DECIDES_NO_OUTPUT = True

HIDDEN = ("hidden_size", "n_embd", "d_model")
LAYERS = ("num_hidden_layers", "n_layer", "num_layers")
HEADS = ("num_attention_heads", "n_head", "num_heads")
INNER = ("intermediate_size", "n_inner", "d_ff", "ffn_dim")
SEQUENCE = 256
"""Sequence length in evaluations, for the cost of attention."""
POSITIONS = ("wpe", "position")
"""Substrings of the names of position tables, which are looked up and take part in no multiplication."""
BYTES_PER_PARAMETER = 16
"""While training: weight, gradient and two moments of the optimizer, all fp32."""
LAYER_BYTES = 68
"""Bytes of activations that a layer keeps per token and hidden unit: twice the 34 bytes of Korthikanti et al. 2022, section 4.1
(https://arxiv.org/abs/2205.05198), since weights and most activations here are fp32."""
LOGIT_BYTES = 12
"""Logits, their softmax and its gradient, fp32, per token and entry of the vocabulary."""


@dataclass(frozen=True)
class ModelCost:
    """The dimensions of a model that decide its cost."""

    parameters: int
    """Parameters that multiply every token: an input embedding table not shared with the head is not counted."""
    layers: int
    hidden: int
    vocabulary: int

    def forward_flops(self, tokens: float, length: float) -> float:
        """Operations to read ``tokens`` tokens in sequences of ``length`` (Chowdhery et al. 2022, appendix B:
        https://arxiv.org/abs/2204.02311)."""
        return tokens * (2 * self.parameters + 4 * self.layers * self.hidden * length)

    def training_flops(self, tokens: float, length: float) -> float:
        """Operations to train on them: the backward pass costs twice the forward pass."""
        return 3 * self.forward_flops(tokens, length)

    def training_memory(self, tokens: float, *, checkpointing: bool = False) -> float:
        """Bytes at the peak of a step with ``tokens`` tokens in one forward pass."""
        kept = 4 if checkpointing else LAYER_BYTES  # a checkpointed layer keeps its input alone
        return BYTES_PER_PARAMETER * self.parameters + tokens * self._activation_bytes(kept)

    def reading_memory(self, tokens: float) -> float:
        """Bytes at the peak of a forward pass without gradients."""
        return 4 * self.parameters + tokens * (LAYER_BYTES * self.hidden + LOGIT_BYTES * self.vocabulary)

    def _activation_bytes(self, layer_bytes: float) -> float:
        return layer_bytes * self.layers * self.hidden + LOGIT_BYTES * self.vocabulary


def of_architecture(architecture: Mapping[str, Any], vocabulary: int) -> ModelCost:
    """The cost of a model yet to be created, from the fields of its transformers configuration."""
    hidden, layers = _first(architecture, HIDDEN, 768), _first(architecture, LAYERS, 12)
    inner = _first(architecture, INNER, 4 * hidden)
    heads = _first(architecture, HEADS, 12)
    shared = architecture.get("num_key_value_heads") or heads
    attention = 2 * hidden * hidden * (1 + shared / heads)
    gated = 3 if "intermediate_size" in architecture else 2
    return ModelCost(round(layers * (attention + gated * hidden * inner) + hidden * vocabulary), layers, hidden, vocabulary)


def of_model(folder: Path) -> ModelCost | None:
    """The cost of a model on disk, from its configuration and the headers of its weights; None if it does not exist."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        stored = sum(_stored(file) for file in folder.glob("*.safetensors"))
    except (OSError, ValueError):
        return None
    hidden, vocabulary = _first(config, HIDDEN, 768), int(config.get("vocab_size") or 0)
    looked_up = 0 if config.get("tie_word_embeddings", True) else hidden * vocabulary
    return ModelCost(stored - looked_up, _first(config, LAYERS, 12), hidden, vocabulary)


def of_reading(folder: Path, tokens: float, batch: float) -> Estimate:
    """The estimate of an evaluation that reads ``tokens`` tokens with the model at ``folder``, ``batch`` at a time."""
    model = of_model(folder)
    if model is None:
        return Estimate(0, "FLOP", tokens=tokens)
    flops = model.forward_flops(tokens, SEQUENCE)
    return Estimate(flops, "FLOP", tokens=tokens, flops=flops, memory=model.reading_memory(batch))


def vocabulary_of(tokenizer: Path, otherwise: int) -> int:
    """Vocabulary size of a tokenizer directory, special tokens included; ``otherwise`` if it does not exist yet."""
    try:
        content = json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return otherwise
    vocabulary = content.get("model", {}).get("vocab", ())
    known = set(vocabulary) if isinstance(vocabulary, dict) else {entry[0] for entry in vocabulary}
    return len(known | {token["content"] for token in content.get("added_tokens", ())})


def _stored(file: Path) -> int:
    """Number of elements in the matrices of a safetensors file, read from its header (https://huggingface.co/docs/safetensors)."""
    with file.open("rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    matrices = {name: tensor["shape"] for name, tensor in header.items() if len(tensor.get("shape", ())) > 1}
    return sum(prod(shape) for name, shape in matrices.items() if not any(part in name for part in POSITIONS))


def _first(fields: Mapping[str, Any], names: tuple[str, ...], otherwise: int) -> int:
    return next((int(fields[name]) for name in names if fields.get(name)), otherwise)
