"""Training examples in splits: conversations, preferences and problems.

Each is a directory of Parquet shards named by split, ``train-00000.parquet`` and ``heldout-00000.parquet``.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypedDict

from workbench.artifacts import table
from workbench.artifacts.table import Columns
from workbench.artifacts.words import folded, words
from workbench.errors import ArtifactError

Split = Literal["train", "heldout"]
SPLITS: tuple[Split, ...] = ("train", "heldout")


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str


def asked(messages: Sequence[Message]) -> str:
    """What the user asks first, in the form in which questions are compared; rows that share it share their split.

    Its words alone count, neither blanks, case, punctuation nor a system's message. Without a user's turn, the first turn's text.
    """
    first = next((message for message in messages if message["role"] == "user"), messages[0])
    return " ".join(words(first["content"]) or folded(first["content"]).split())


_MESSAGES = [{"role": "string", "content": "string"}]


@dataclass(frozen=True)
class Conversation:
    """A conversation to imitate."""

    messages: tuple[Message, ...]
    split: Split = "train"
    schema: ClassVar[Columns] = {"id": "string", "messages": _MESSAGES}

    def record(self) -> dict[str, Any]:
        """The row without its id."""
        return {"messages": list(self.messages)}


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
    """Write each split's rows under a content id, repeated rows once; returns the number of rows per split."""
    seen: set[str] = set()
    with ExitStack() as stack:
        writers = {split: stack.enter_context(table.ShardWriter(directory, columns, split)) for split in SPLITS}
        for example in examples:
            record = example.record()
            identity = table.content_id(record)
            if identity not in seen:
                seen.add(identity)
                writers[example.split].write({"id": identity, **record})
    return {split: writer.rows for split, writer in writers.items()}


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
    for column in ("messages", "prompt", "chosen", "rejected"):
        if column in row and not row[column]:
            raise ArtifactError(f"column {column!r} holds no message", where, "drop the row")
        for message in row.get(column, ()):
            if message["role"] not in {"system", "user", "assistant"}:
                raise ArtifactError(f"role {message['role']!r} in {column!r}", where, "use system, user or assistant")
            if not message["content"]:
                raise ArtifactError(f"an empty message in {column!r}", where, "drop the row or fill it")
