"""The one way to load models and tokenizers from a directory: nothing is fetched, and none of its code or pickles is run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from workbench.models import types as model_types

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a tokenizer or model directory.

    Raises:
        PluginError: no installed distribution knows the type of the model beside it.
    """
    from transformers import AutoTokenizer

    if (directory / "config.json").is_file():
        model_types.register(directory)
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
        attention: name of the implementation, as transformers knows it; None leaves transformers the choice.
        dtype: dtype of the weights; "auto" keeps the saved dtype.

    Raises:
        PluginError: no installed distribution knows the model's type.
    """
    from transformers import AutoModelForCausalLM

    model_types.register(directory)
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        str(directory),
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        attn_implementation=attention,
        dtype=dtype,
    )
    return model
