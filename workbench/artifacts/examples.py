"""Training examples in splits: conversations, preferences and problems.

Each is a directory of Parquet shards named by split, ``train-00000.parquet`` and ``heldout-00000.parquet``.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NotRequired, TypedDict

from workbench.artifacts import table
from workbench.artifacts.table import Columns
from workbench.artifacts.words import folded, words
from workbench.errors import ArtifactError

Split = Literal["train", "heldout"]
SPLITS: tuple[Split, ...] = ("train", "heldout")


class Function(TypedDict):
    """A function that is called, its arguments as JSON text."""

    name: str
    arguments: str


class ToolCall(TypedDict):
    """A call of a tool, in OpenAI's form."""

    id: NotRequired[str]
    type: str
    function: Function


class Message(TypedDict):
    """One turn of a conversation: of the system, the user, the assistant, or a tool that answers a call.

    The optional fields are columns only of artifacts in which a row has them; there they are null in other rows.
    """

    role: str
    content: str
    """Empty at most beside tool calls, and for a tool that answers nothing."""
    weight: NotRequired[float]
    """Of the turn in the loss; 1 if it isn't there."""
    reasoning_content: NotRequired[str]
    """What the assistant thinks before it answers."""
    tool_calls: NotRequired[list[ToolCall]]
    tool_call_id: NotRequired[str]
    name: NotRequired[str]
    """Of the tool that answers."""


ROLES = ("system", "user", "assistant", "tool")
_MESSAGE: Columns = {"role": "string", "content": "string"}
_MESSAGES = [_MESSAGE]
_OPTIONAL: Columns = {
    "weight": "double",
    "reasoning_content": "string",
    "tool_calls": [{"id": "string", "type": "string", "function": {"name": "string", "arguments": "string"}}],
    "tool_call_id": "string",
    "name": "string",
}
"""Fields of messages that most artifacts lack, in the order of their columns."""
_TURNS = ("messages", "prompt", "chosen", "rejected")
"""Columns of messages."""


def asked(messages: Sequence[Message]) -> str:
    """What the user asks first, in the form in which questions are compared; rows that share it share their split.

    Its words alone count, neither blanks, case, punctuation nor a system's message. Without a user's turn, the first turn's text.
    """
    first = next((message for message in messages if message["role"] == "user"), messages[0])
    return " ".join(words(first["content"]) or folded(first["content"]).split())


@dataclass(frozen=True)
class Conversation:
    """A conversation to imitate."""

    messages: tuple[Message, ...]
    split: Split = "train"
    tools: str | None = None
    """The tools that the assistant may call, as JSON text of a list; a column only of artifacts in which a row has some."""
    schema: ClassVar[Columns] = {"id": "string", "messages": _MESSAGES}

    def record(self) -> dict[str, Any]:
        """The row without its id."""
        return {"messages": list(self.messages), **({"tools": self.tools} if self.tools else {})}


@dataclass(frozen=True)
class Preference:
    """Two continuations of one prompt, in conversational form, the first preferred."""

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    split: Split = "train"
    schema: ClassVar[Columns] = {"id": "string", "prompt": _MESSAGES, "chosen": _MESSAGES, "rejected": _MESSAGES}

    def record(self) -> dict[str, Any]:
        """The row without its id."""
        return {"prompt": list(self.prompt), "chosen": list(self.chosen), "rejected": list(self.rejected)}


@dataclass(frozen=True)
class Problem:
    """A prompt whose answer a program can verify."""

    prompt: tuple[Message, ...]
    answer: str
    verifier: str
    """Name of the reward plugin that checks the answer."""
    split: Split = "train"
    schema: ClassVar[Columns] = {"id": "string", "prompt": _MESSAGES, "answer": "string", "verifier": "string"}

    def record(self) -> dict[str, Any]:
        """The row without its id."""
        return {"prompt": list(self.prompt), "answer": self.answer, "verifier": self.verifier}


Example = Conversation | Preference | Problem
FORMATS: dict[str, type[Conversation] | type[Preference] | type[Problem]] = {
    "conversations": Conversation,
    "preferences": Preference,
    "problems": Problem,
}


def write(directory: Path, examples: Iterable[Example], columns: Columns) -> dict[Split, int]:
    """Write each split's rows under a content id, repeated rows once; returns the number of rows per split.

    Columns are widened by the optional fields that a row is the first to have.
    """
    seen: set[str] = set()
    with ExitStack() as stack:
        writers = {split: stack.enter_context(table.ShardWriter(directory, columns, split)) for split in SPLITS}
        for example in examples:
            record = example.record()
            identity = table.content_id(record)
            if identity in seen:
                continue
            seen.add(identity)
            wider = _widened(columns, record)
            if wider != columns:
                columns = wider
                for writer in writers.values():
                    writer.widen(columns)
            writers[example.split].write({"id": identity, **record})
    return {split: writer.rows for split, writer in writers.items()}


def _widened(columns: Columns, record: dict[str, Any]) -> Columns:
    """The columns, and what the record's messages have beyond them."""
    used = {field for column in _TURNS for message in record.get(column, ()) for field in message}
    if not used - _MESSAGE.keys() and "tools" not in record:
        return columns
    used |= {field for column in _TURNS if column in columns for field in columns[column][0]}
    message = {**_MESSAGE, **{field: kind for field, kind in _OPTIONAL.items() if field in used}}
    wider = {name: [message] if name in _TURNS else kind for name, kind in columns.items()}
    return {**wider, "tools": "string"} if "tools" in record else wider


def read(directory: Path, split: Split) -> Iterator[dict[str, Any]]:
    """Stream the rows of one split."""
    return table.read_rows(directory, prefix=split)


def sample(directory: Path, split: Split, number: int, seed: int) -> list[dict[str, Any]]:
    """A seeded draw without replacement of at most ``number`` rows, so that only rows that are used get prepared."""
    rows = list(read(directory, split))
    return random.Random(seed).sample(rows, min(number, len(rows)))


def validate(directory: Path, format: str) -> None:
    """Check columns and ids of both splits, that turns are not empty, and that no id is in both.

    Raises:
        ArtifactError: says the file, the row and the fix.
    """
    schema = FORMATS[format].schema
    identities: dict[Split, set[str]] = {}
    for split in SPLITS:
        table.require_columns(directory, schema, prefix=split)
        table.require_unique(directory, prefix=split)
        identities[split] = {row["id"] for row in table.read_rows(directory, ["id"], prefix=split)}
        for number, row in enumerate(read(directory, split)):
            _require_turns(row, f"{directory}, {split} row {number}")
    if not identities["train"]:
        raise ArtifactError("the training split is empty", str(directory), "look at what the source read and filtered")
    if both := identities["train"] & identities["heldout"]:
        raise ArtifactError(f"{len(both)} rows are in train and heldout", str(directory), "give every row one split")


def _require_turns(row: dict[str, Any], where: str) -> None:
    for column in _TURNS:
        if column in row and not row[column]:
            raise ArtifactError(f"column {column!r} holds no message", where, "drop the row")
        for message in row.get(column, ()):
            if message["role"] not in ROLES:
                raise ArtifactError(f"role {message['role']!r} in {column!r}", where, f"use {', '.join(ROLES)}")
            may_be_empty = message["role"] == "tool" or message.get("tool_calls")
            if message["content"] is None or not (message["content"] or may_be_empty):
                raise ArtifactError(f"an empty message in {column!r}", where, "drop the row or fill it")
