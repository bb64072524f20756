"""Conversations and pairs as token ids and labels.

They are made here rather than by TRL's trainers, so that text stays text and no row is lost without a word. Importing this
module imports neither torch nor TRL.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from workbench.errors import ArtifactError
from workbench.models import encoding
from workbench.models.encoding import Encoded, Ids, Span
from workbench_trl.ledger import Fate, Ledger

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Row = Mapping[str, Any]
UNLEARNT = -100
"""Label of a token without loss."""


class Conversation(TypedDict):
    """What TRL's SFTTrainer takes as it is."""

    id: str
    input_ids: list[int]
    labels: list[int]


class Pair(TypedDict):
    """What TRL's DPOTrainer makes of a row; its collator cuts at ``max_length``."""

    id: str
    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]


def conversations(rows: Iterable[Row], tokenizer: PreTrainedTokenizerBase, ledger: Ledger) -> list[Conversation]:
    """The rows that something is learnt from, labels on the assistant's turns whose weight is 1.

    Raises:
        ArtifactError: a weight is neither 0 nor 1, or the chat template does not say what the assistant writes.
    """
    template = _training_template(tokenizer)
    made: list[Conversation] = []
    for row in rows:
        encoded = encoding.encode_conversation(tokenizer, row["messages"], template, json.loads(row.get("tools") or "[]"))
        learnt = _learnt(row, encoded, tokenizer)
        special = encoding.holds_special_tokens(tokenizer, row["messages"])
        if ledger.enter(row["id"], len(encoded.ids), _fate(encoded, learnt, ledger.max_length), special_tokens=special):
            ids = list(encoded.ids[: ledger.max_length])
            made.append(Conversation(id=row["id"], input_ids=ids, labels=_labels(ids, learnt)))
    return made


def pairs(rows: Iterable[Row], tokenizer: PreTrainedTokenizerBase, ledger: Ledger) -> list[Pair]:
    """The pairs whose answers differ within ``max_length``.

    Raises:
        ArtifactError: a message has a weight, or the chat template writes the prompt otherwise when an answer follows.
    """
    rows = list(rows)
    for row in rows:
        _refuse_weights(row)
    prompts = _encoded(tokenizer, [row["prompt"] for row in rows], add_generation_prompt=True)
    chosen = _encoded(tokenizer, [[*row["prompt"], *row["chosen"]] for row in rows])
    rejected = _encoded(tokenizer, [[*row["prompt"], *row["rejected"]] for row in rows])
    made: list[Pair] = []
    for row, prompt, better, worse in zip(rows, prompts, chosen, rejected, strict=True):
        if better[: len(prompt)] != prompt or worse[: len(prompt)] != prompt:
            what = "the chat template writes the prompt otherwise when an answer follows"
            fix = "use a template whose generation prompt is a prefix of the assistant's turn"
            raise ArtifactError(what, f"{tokenizer.name_or_path}, row {row['id']}", fix)
        special = encoding.holds_special_tokens(tokenizer, [*row["prompt"], *row["chosen"], *row["rejected"]])
        fate = _fate_of_pair(prompt, better, worse, ledger.max_length)
        if ledger.enter(row["id"], max(len(better), len(worse)), fate, special_tokens=special):
            answers = list(better[len(prompt) :]), list(worse[len(prompt) :])
            made.append(Pair(id=row["id"], prompt_ids=list(prompt), chosen_ids=answers[0], rejected_ids=answers[1]))
    return made


def _encoded(
    tokenizer: PreTrainedTokenizerBase, conversations: Sequence[encoding.Messages], *, add_generation_prompt: bool = False
) -> list[Ids]:
    rendered = [encoding.render(tokenizer, said, add_generation_prompt=add_generation_prompt) for said in conversations]
    return encoding.encode(tokenizer, rendered)


def _training_template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """A template that marks what the assistant writes, its end included; None if the tokenizer's own does.

    Raises:
        ArtifactError: neither the tokenizer nor TRL has one.
    """
    from trl.chat_template_utils import (
        get_training_chat_template,
        has_generation_markers,
        is_chat_template_stop_token_trained,
    )

    if not tokenizer.chat_template:
        raise ArtifactError(
            "the tokenizer lacks a chat template", tokenizer.name_or_path, "give the model one before fine-tuning"
        )
    fix = "put each of the assistant's turns, its end token included, between {% generation %} and {% endgeneration %}"
    try:
        own = has_generation_markers(tokenizer.chat_template)
        template: str | None = None if own else get_training_chat_template(tokenizer)
    except ValueError as error:
        what = "the chat template does not say which of its tokens the assistant writes"
        raise ArtifactError(what, tokenizer.name_or_path, fix) from error
    if not is_chat_template_stop_token_trained(tokenizer, chat_template=template):
        what = "the chat template ends the assistant's turn outside what the assistant writes, so that stopping is never learnt"
        raise ArtifactError(what, tokenizer.name_or_path, fix)
    return template


def _learnt(row: Row, encoded: Encoded, tokenizer: PreTrainedTokenizerBase) -> list[Span]:
    """The spans of the assistant's turns whose weight is 1."""
    weights = [_weight(message, row) for message in row["messages"]]
    turns = [weight for message, weight in zip(row["messages"], weights, strict=True) if message["role"] == "assistant"]
    if turns and not encoded.answers:
        fix = "mark each of the assistant's turns by {% generation %}"
        raise ArtifactError("the chat template marks no turn of the assistant", f"{tokenizer.name_or_path}, row {row['id']}", fix)
    if all(turns):
        return list(encoded.answers)
    if len(turns) != len(encoded.answers):
        what = (
            f"{len(turns)} turns of the assistant are {len(encoded.answers)} blocks in the chat template, and some have weight 0"
        )
        fix = "use a template with one generation block a turn, or remove the weights"
        raise ArtifactError(what, f"{tokenizer.name_or_path}, row {row['id']}", fix)
    return [span for span, weight in zip(encoded.answers, turns, strict=True) if weight]


def _weight(message: Row, row: Row) -> bool:
    """Whether a turn is learnt.

    Raises:
        ArtifactError: its weight is no 0 or 1, or asks for a loss on a turn that is not the assistant's.
    """
    answer, weight = bool(message["role"] == "assistant"), message.get("weight")
    if weight is None:
        return answer
    if weight not in ((0, 1) if answer else (0,)):
        fix = "give the assistant's turns the weight 0 or 1, and other turns 0 or none: the loss is on the assistant's alone"
        raise ArtifactError(f"a turn of the {message['role']} has weight {weight:g}", f"row {row['id']}, messages", fix)
    return bool(weight)


def _refuse_weights(row: Row) -> None:
    for column in ("prompt", "chosen", "rejected"):
        for message in row[column]:
            weight = message.get("weight")
            if weight is not None and weight != (column != "prompt"):
                what = f"a message of a preference has weight {weight:g}, and both answers are learnt whole"
                raise ArtifactError(what, f"row {row['id']}, {column}", "remove the weight, or leave the row out")


def _labels(ids: list[int], learnt: Sequence[Span]) -> list[int]:
    labels = [UNLEARNT] * len(ids)
    for start, end in learnt:
        labels[start:end] = ids[start:end]
    return labels


def _fate(encoded: Encoded, learnt: Sequence[Span], max_length: int) -> Fate | None:
    if not learnt:
        return "weightless" if encoded.answers else "unanswered"
    if all(start >= max_length for start, _ in learnt):
        return "too long"
    if any(start < max_length < end for start, end in learnt):
        return "endless"
    return "cut" if len(encoded.ids) > max_length else None


def _fate_of_pair(prompt: Ids, chosen: Ids, rejected: Ids, max_length: int) -> Fate | None:
    if len(prompt) >= max_length:
        return "too long"
    if chosen[:max_length] == rejected[:max_length]:
        return "alike"
    return "endless" if max(len(chosen), len(rejected)) > max_length else None
