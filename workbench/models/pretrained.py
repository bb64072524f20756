"""The one way to load models and tokenizers from a directory: nothing is fetched, and none of their code or pickles is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from workbench.models import types as model_types

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


def load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a tokenizer or model directory.

    Raises:
        PluginError: no installed distribution knows the type of the model beside it.
    """
    from transformers import AutoTokenizer

    if (directory / "config.json").is_file():
        _register(directory)
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        str(directory), local_files_only=True, trust_remote_code=False
    )
    return tokenizer


def load_causal_model(
    directory: Path, *, attention: str | None = None, dtype: torch.dtype | Literal["auto"] = "auto"
) -> PreTrainedModel:
    """Load a causal language model, on the CPU.

    Args:
        directory: Hugging Face model directory with its weights in safetensors.
        attention: name of the implementation, as transformers knows it; None leaves transformers the choice, and a class
            without sdpa takes eager instead.
        dtype: of the weights; "auto" is what they were saved in.

    Raises:
        PluginError: no installed distribution knows the model's type.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    _register(directory)
    config = AutoConfig.from_pretrained(str(directory), local_files_only=True, trust_remote_code=False)
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        str(directory),
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        attn_implementation=attention_for(config, attention),
        dtype=dtype,
    )
    return model


def attention_for(config: PreTrainedConfig, asked: str | None) -> str | None:
    """The attention implementation for a causal model of that configuration: what was asked for, or eager instead of sdpa.

    A class without sdpa, such as one without attention, would refuse it. Transformers, too, takes eager for such a class if
    nothing is asked for.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    made = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    has_sdpa = getattr(made, "_supports_sdpa", True)
    return asked if asked != "sdpa" or has_sdpa else "eager"


def _register(directory: Path) -> None:
    file = directory / "config.json"
    model_types.register(json.loads(file.read_text(encoding="utf-8")).get("model_type", ""), str(file))
