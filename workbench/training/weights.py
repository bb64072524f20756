"""The weights of a checkpoint, loaded back into the model in training: every one of them, or none.

Transformers saves some weights under other names than the model holds them, such as the experts of a mixture: one by one in the
file, one tensor in the model. ``Trainer`` compares names only, and passes over such weights, which then stay fresh
(https://github.com/huggingface/transformers/issues/48805). Here the file is read as ``from_pretrained`` reads it.

Importing this module imports torch and transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedModel, Trainer

from workbench.errors import TrainingError

SHOWN = 5
"""Names shown in an error."""


def load_all(trainer: Trainer) -> None:
    """Let a trainer resume from checkpoints by :func:`load`."""
    usual = trainer._load_from_checkpoint  # noqa: SLF001 - the one place where the Trainer reads weights

    def read(checkpoint: str, model: nn.Module | None = None) -> None:
        load(Path(checkpoint), trainer.model if model is None else model, usual)

    trainer._load_from_checkpoint = read  # noqa: SLF001


def load(checkpoint: Path, model: nn.Module, usual: Callable[[str, nn.Module], Any]) -> None:
    """Load all weights of a checkpoint into the model that wrote it.

    Args:
        checkpoint: the Trainer's folder.
        model: as it was built for training.
        usual: the Trainer's own way, for what is no model of transformers, such as adapters.

    Raises:
        TrainingError: a weight of the model is not in the checkpoint, or has another shape there.
    """
    if isinstance(model, PreTrainedModel):
        _load_pretrained(checkpoint, model)
        return
    usual(str(checkpoint), model)
    stored = {name for file in checkpoint.glob("*.safetensors") for name in _names(file)}
    _require_none(checkpoint, set(_saved_names(model)) - stored)


def _load_pretrained(checkpoint: Path, model: PreTrainedModel) -> None:
    # Read in fp32, which holds every narrower float, and copied to each weight's own type.
    read, found = type(model).from_pretrained(
        str(checkpoint),
        config=model.config,
        local_files_only=True,
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are counted below
    )
    _require_none(checkpoint, {*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])})
    model.load_state_dict(read.state_dict(), strict=True)


def _saved_names(model: nn.Module) -> Iterable[str]:
    try:
        from peft import PeftModel, get_peft_model_state_dict
    except ImportError:
        return model.state_dict()
    names: Iterable[str] = get_peft_model_state_dict(model) if isinstance(model, PeftModel) else model.state_dict()
    return names


def _names(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as opened:
        return list(opened.keys())


def _require_none(checkpoint: Path, missing: set[str]) -> None:
    if not missing:
        return
    more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
    raise TrainingError(
        f"the checkpoint lacks weights of the model: {', '.join(sorted(missing)[:SHOWN])}{more}",
        str(checkpoint),
        f"remove {checkpoint.parent}, so that training starts over",
    )
