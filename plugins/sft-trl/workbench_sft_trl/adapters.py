"""Low-rank adapters (Hu et al. 2021, https://arxiv.org/abs/2106.09685), trained in a model's place and then merged into it.

Importing this module imports torch, transformers and peft; the plugin imports it where adapters are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import peft
from torch import nn
from transformers.pytorch_utils import Conv1D

from workbench.errors import ParamsError
from workbench.run import Run

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from workbench_sft_trl import LoraConfig


def attach(model: PreTrainedModel, config: LoraConfig, run: Run) -> peft.PeftModel:
    """Freeze the model and give its linear layers adapters, which alone are trained; they begin as no change.

    Raises:
        ParamsError: a target is no linear layer that can have an adapter; says which can.
    """
    if config.target_modules != "all-linear":
        _require_known(model, config.target_modules, run)
    lora = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=config.r,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=config.target_modules if isinstance(config.target_modules, str) else list(config.target_modules),
    )
    adapted = peft.get_peft_model(model, lora)
    trained, total = adapted.get_nb_trainable_parameters()
    run.metric("trained_parameters", trained)
    run.metric("parameters", total)
    return adapted


def merge(adapted: peft.PeftModel) -> PreTrainedModel:
    """The model with W + α/r · B·A in place of each adapted weight W, and no adapter.

    Raises:
        ValueError: an adapter is not finite.
    """
    merged: PreTrainedModel = adapted.merge_and_unload(safe_merge=True)
    return merged


def _require_known(model: PreTrainedModel, targets: tuple[str, ...], run: Run) -> None:
    head = model.get_output_embeddings()
    linear = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }
    if unknown := sorted(set(targets) - linear):
        raise ParamsError(
            f"no linear layer that can have an adapter is named {', '.join(unknown)}",
            f"params.yaml, stage {run.stage}, key peft.target_modules",
            f"choose of {', '.join(sorted(linear))}, or `all-linear`",
        )
