"""The reward model: trained on preferences, then used to score conversations.

Importing this module imports torch and TRL; the plugin imports it inside its method.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForSequenceClassification
from trl import RewardConfig, RewardTrainer
from trl.trainer.reward_trainer import suppress_seqcls_warning
from workbench_trl import trainer as on_trl

from workbench.errors import ParamsError
from workbench.models import encoding
from workbench.run import Run, Value
from workbench.training import trainer as shared
from workbench.training.checkpoints import newest_complete
from workbench.training.optimizers import build

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from workbench_align_rlhf import RewardModelConfig, RlhfConfig

NAME = "reward_model"
"""Of its checkpoints, and of its column in the log of the policy's training."""
Messages = Sequence[Mapping[str, str]]


@dataclass
class RewardModelRun(Run):
    """The part of a run in which the reward model is trained; its numbers have names of their own."""

    def log(self, values: Mapping[str, Value], step: int | None = None) -> None:
        """As a run, with a prefix."""
        super().log({f"{NAME}/{name}": value for name, value in values.items()}, step)


def of_length(
    rows: Iterable[Any], tokenizer: PreTrainedTokenizerBase, longest: int, window: int, split: str, run: Run
) -> list[Any]:
    """The pairs of which both sides have at most ``longest`` tokens; the others are counted as a metric of the stage.

    TRL's RewardTrainer would leave the others out without a word.

    Raises:
        ParamsError: no pair is left, or one is longer than the model's window.
    """
    kept, left_out, shortest, widest = [], 0, None, 0
    for row in rows:
        width = max(len(ids(tokenizer, [*row["prompt"], *row[side]])) for side in ("chosen", "rejected"))
        shortest = width if shortest is None else min(shortest, width)
        if width > longest:
            left_out += 1
            continue
        kept.append(row)
        widest = max(widest, width)
    where = f"params.yaml, stage {run.stage}, key reward_model.max_length"
    if not kept:
        what = (
            f"all {left_out} pairs of the split {split} are longer than max_length {longest}; the shortest has {shortest} tokens"
        )
        raise ParamsError(what, where, f"raise it to {shortest} at least, or shorten the answers")
    if widest > window:
        what = f"a pair of the split {split} has {widest} tokens within max_length {longest}, and the model's window has {window}"
        raise ParamsError(what, where, f"lower it to {window}")
    run.metric(f"reward_model_{split}_pairs", len(kept))
    run.metric(f"reward_model_{split}_pairs_left_out", left_out)
    if left_out:
        whole = len(kept) + left_out
        run.warn(
            f"{left_out} of {whole} pairs of the split {split} are longer than reward_model.max_length {longest} and left out"
        )
    return kept


def ids(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> list[int]:
    """Token ids of a conversation; a special token's letters in its messages are letters."""
    return list(encoding.encode(tokenizer, [encoding.render(tokenizer, messages)])[0])


def obtain(model: Path, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Any], config: RlhfConfig, run: Run) -> PreTrainedModel:
    """Train the reward model, from where a killed run left it; a finished one is kept as its own last checkpoint."""
    folder = run.checkpoints / NAME
    finished = folder / f"checkpoint-{config.reward_model.steps}"
    if newest_complete(folder) != finished:
        part = RewardModelRun(run.stage, run.seed, run.compute, run.scratch, folder, run.listener, run.summary)
        on_trl.train(lambda: _trainer(_load(model, tokenizer), tokenizer, rows, config, part), part)
    reward_model = _load(finished, tokenizer)
    reward_model.config.name_or_path = NAME  # what TRL calls it, wherever it was loaded from
    return reward_model.to(run.compute.device).eval()


def _load(directory: Path, tokenizer: PreTrainedTokenizerBase) -> Any:
    with suppress_seqcls_warning():  # the new head of a language model is no surprise
        return AutoModelForSequenceClassification.from_pretrained(
            directory,
            num_labels=1,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            pad_token_id=tokenizer.pad_token_id,
        )


def _trainer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Any], config: RlhfConfig, run: Run
) -> RewardTrainer:
    own: RewardModelConfig = config.reward_model
    arguments = RewardConfig(
        **shared.common_arguments(run, steps=own.steps, logging_steps=config.logging_steps, save_steps=config.save_steps),
        per_device_train_batch_size=own.batch_size,
        activation_checkpointing=False,
        max_grad_norm=config.max_gradient_norm,
        max_length=own.max_length,
        center_rewards_coefficient=own.center,
    )
    sides = ("chosen", "rejected")
    encoded = [
        {"id": row["id"], **{f"{side}_ids": ids(tokenizer, [*row["prompt"], *row[side]]) for side in sides}} for row in rows
    ]
    return RewardTrainer(
        model=model,
        args=arguments,
        train_dataset=shared.in_memory(encoded, ["chosen_ids", "rejected_ids"]),
        processing_class=tokenizer,
        optimizers=build(model, own.optimizer, own.steps, run),
        callbacks=[shared.Reporter(run, NAME)],
    )


def score(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, conversations: Sequence[Messages], batch_size: int
) -> list[float]:
    """The reward of each conversation's last turn. Equal lengths run together, so none is padded."""
    encoded = [ids(tokenizer, messages) for messages in conversations]
    rewards = [0.0] * len(encoded)
    order = sorted(range(len(encoded)), key=lambda index: (len(encoded[index]), index))
    with torch.inference_mode():
        for length in sorted({len(ids) for ids in encoded}):
            group = [index for index in order if len(encoded[index]) == length]
            for start in range(0, len(group), batch_size):
                batch = group[start : start + batch_size]
                inputs = torch.tensor([encoded[index] for index in batch], device=model.device)  # (B, T)
                logits = model(input_ids=inputs, attention_mask=torch.ones_like(inputs)).logits  # (B, 1)
                for index, value in zip(batch, logits[:, 0].float().tolist(), strict=True):
                    rewards[index] = value
    return rewards
