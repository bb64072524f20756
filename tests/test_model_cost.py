"""Costs told from files against the models themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from workbench.models import cost as model_cost

LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
}
GPT2 = {"model_type": "gpt2", "n_embd": 32, "n_layer": 3, "n_head": 4}
VOCABULARY, LENGTH, BATCH = 200, 16, 2


def build(architecture: dict[str, object], **fields: object) -> torch.nn.Module:
    known = {key: value for key, value in architecture.items() if key != "model_type"}
    config = AutoConfig.for_model(architecture["model_type"], vocab_size=VOCABULARY, **known, **fields)
    return AutoModelForCausalLM.from_config(config)


def multiplying(model: torch.nn.Module) -> int:
    """Numbers in the matrices that every token is multiplied with."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    looked_up = tables - {id(model.lm_head.weight)}
    return sum(matrix.numel() for matrix in {*model.parameters()} if matrix.ndim == 2 and id(matrix) not in looked_up)


@pytest.mark.parametrize(("architecture", "tied"), [(LLAMA, True), (LLAMA, False), (GPT2, True)])
def test_parameters_are_those_of_the_model(tmp_path: Path, architecture: dict[str, object], tied: bool) -> None:
    model = build(architecture, tie_word_embeddings=tied)
    planned = model_cost.of_architecture(architecture, VOCABULARY)
    assert planned.parameters == multiplying(model)
    model.save_pretrained(tmp_path)
    read = model_cost.of_model(tmp_path)
    assert read is not None
    assert read == planned


def test_operations_are_those_that_torch_counts() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    model = build(LLAMA, attn_implementation="eager")
    tokens = torch.ones((BATCH, LENGTH), dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=tokens, labels=tokens).loss.backward()
    planned = model_cost.of_architecture(LLAMA, VOCABULARY).training_flops(BATCH * LENGTH, LENGTH)
    assert planned == pytest.approx(counter.get_total_flops(), rel=0.1)


def test_what_is_not_there_costs_nothing_known(tmp_path: Path) -> None:
    assert model_cost.of_model(tmp_path) is None
    assert model_cost.vocabulary_of(tmp_path, 5) == 5
