"""Sources of rows, from tables of any origin: a column map, a quarantine for bad rows and a limit on their share."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field

from workbench.artifacts.corpus import Document
from workbench.artifacts.examples import Conversation, Example, Message, Preference, Problem, Split, asked
from workbench.errors import ArtifactError
from workbench.kinds.source import Source
from workbench.plugin import Config
from workbench.run import Run

Produces = Literal["corpus", "conversations", "preferences", "problems"]
ROLES = ("system", "user", "assistant")
EMPTY = "empty-text"
"""For documents: a corpus may have any number of empty ones. Elsewhere a missing value makes a bad row."""
MISSING = "missing-value"
SHOWN = 100
DETAIL = 200


class ColumnMap(Config):
    """Names of the table's columns that the workbench needs; only those of the produced format are read."""

    text: str = "text"
    """Corpus: the document."""
    source: str | None = None
    """Corpus: a coarse origin, such as a site; null takes the folder or the kind of file."""
    messages: str | None = "messages"
    """Conversations: list of {role, content}; null reads `prompt` and `completion` instead."""
    completion: str = "completion"
    """Conversations without `messages`: the answer, as text or messages."""
    prompt: str = "prompt"
    """Preferences, problems, and conversations without `messages`: the request, as text or messages."""
    chosen: str = "chosen"
    """Preferences: the better answer, as text or messages."""
    rejected: str = "rejected"
    """Preferences: the worse answer, as text or messages."""
    answer: str = "answer"
    """Problems: the right answer."""
    verifier: str = "verifier"
    """Problems: name of the reward plugin that checks the answer, unless `verifier` of the source says it for all."""


class RowsConfig(Config):
    """Settings common to every source of rows."""

    produces: Produces = "corpus"
    """The artifact format made from the rows."""
    columns: ColumnMap = ColumnMap()
    """The column map."""
    verifier: str | None = None
    """Problems: the reward plugin that checks every answer; null reads it from a column."""
    heldout: float = Field(0.05, ge=0, lt=1)
    """Share of the first questions whose rows are held out, drawn by its words: blanks, case, punctuation, Unicode form
    and a system's message before it do not count. A corpus is split by `dedup` instead."""
    max_bad_share: float = Field(0.01, ge=0, le=1)
    """Largest share of records that may be unreadable; they are skipped and counted. More is an error."""
    max_record_bytes: int = Field(10_000_000, ge=1)
    """Records larger than this, in bytes of UTF-8, count as unreadable."""


R = TypeVar("R", bound=RowsConfig)


@dataclass(frozen=True)
class Row:
    """A record as read."""

    origin: str
    """Its location, such as ``folder/file.jsonl:12``; never an absolute path."""
    source: str
    """Its source, unless a column says it."""
    values: Mapping[str, Any]


@dataclass(frozen=True)
class BadRow:
    """A record that could not be read."""

    origin: str
    reason: str
    """One or two words, for counting."""
    detail: str = ""


class UnusableRowError(ValueError):
    """A row's values cannot be used; the row is quarantined."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason, self.detail = reason, detail


@dataclass
class BadRows:
    """The records that were skipped."""

    max_share: float
    read: int = 0
    bad: list[BadRow] = field(default_factory=list)
    number: int = 0

    def add(self, row: BadRow) -> None:
        """Count a record, and keep it if it is among the first."""
        self.number += 1
        if len(self.bad) < SHOWN:
            self.bad.append(row)

    def report(self, run: Run) -> None:
        """Show the first few, and refuse too many.

        Raises:
            ArtifactError: names the first bad record and its problem.
        """
        if not self.number:
            return
        rows = [{"record": row.origin, "reason": row.reason, "detail": row.detail[:DETAIL]} for row in self.bad]
        run.table("quarantine", "Records that were left out, the first of them", rows)
        if self.number > self.max_share * self.read:
            first = self.bad[0]
            raise ArtifactError(
                f"{self.number} of {self.read} records are unreadable, more than max_bad_share {self.max_share:g}; "
                f"the first: {first.reason}{': ' + first.detail[:DETAIL] if first.detail else ''}",
                first.origin,
                "mend the records, or raise `max_bad_share` to leave them out",
            )


class RowSource(Source[R]):
    """A source whose author yields rows; the base class maps columns and quarantines bad rows."""

    def __init__(self, config: R, parts: Mapping[str, Sequence[Any]] | None = None) -> None:
        super().__init__(config, parts)
        self.produces = config.produces  # the format is the configuration's choice

    @abstractmethod
    def rows(self, run: Run) -> Iterator[Row | BadRow]:
        """Yield the rows in a fixed order, in bounded memory."""

    def records(self, run: Run) -> Iterator[Document | Example]:
        """Convert the rows; count and quarantine those that cannot be used."""
        quarantine = BadRows(self.config.max_bad_share)
        for row in self.rows(run):
            quarantine.read += 1
            if isinstance(row, Row):
                try:
                    yield convert(row, self.config, run.seed)
                    continue
                except UnusableRowError as error:
                    row = BadRow(row.origin, error.reason, error.detail)
            self.skip(row.reason)
            if row.reason != EMPTY:
                quarantine.add(row)
        quarantine.report(run)


def needed_columns(config: RowsConfig) -> list[str]:
    """The columns that a table must have."""
    columns = config.columns
    if config.produces == "corpus":
        return [columns.text, *([columns.source] if columns.source else [])]
    if config.produces == "conversations":
        return [columns.messages] if columns.messages else [columns.prompt, columns.completion]
    if config.produces == "preferences":
        return [columns.prompt, columns.chosen, columns.rejected]
    return [columns.prompt, columns.answer, *([] if config.verifier else [columns.verifier])]


def require_columns(present: Sequence[str], config: RowsConfig, where: str) -> None:
    """Refuse a table that lacks a mapped column.

    Raises:
        ArtifactError: names the columns that are missing and those that are there.
    """
    missing = [name for name in needed_columns(config) if name not in present]
    if missing:
        raise ArtifactError(
            f"no column {', '.join(map(repr, missing))}; the columns are {', '.join(map(repr, present)) or 'none'}",
            where,
            "name the right columns under `columns:`, or set `produces` to what the table holds",
        )


def convert(row: Row, config: RowsConfig, seed: int) -> Document | Example:
    """Convert a row to a record.

    Raises:
        UnusableRowError: a value is missing, empty, too long or of another type.
    """
    columns, values = config.columns, row.values
    if config.produces == "corpus":
        told = columns.source is not None and values.get(columns.source, "") is not None
        source = _text(values, columns.source, config) if told and columns.source else row.source
        return Document(_text(values, columns.text, config), source, {"origin": row.origin})
    if config.produces == "conversations" and columns.messages:
        messages = _messages(values, columns.messages, None, config)
        if all(message["role"] != "assistant" for message in messages):
            raise UnusableRowError("no-answer", "no message is the assistant's")
        return Conversation(messages, _split(messages, config, seed))
    prompt = _messages(values, columns.prompt, "user", config)
    split = _split(prompt, config, seed)
    if config.produces == "conversations":
        return Conversation(prompt + _messages(values, columns.completion, "assistant", config), split)
    if config.produces == "preferences":
        chosen = _messages(values, columns.chosen, "assistant", config)
        rejected = _messages(values, columns.rejected, "assistant", config)
        if chosen == rejected:
            raise UnusableRowError("no-preference", "chosen and rejected are the same")
        return Preference(prompt, chosen, rejected, split)
    verifier = config.verifier or _text(values, columns.verifier, config)
    return Problem(prompt, _answer(values, columns.answer, config), verifier, split)


def _text(values: Mapping[str, Any], name: str, config: RowsConfig) -> str:
    if name not in values:
        raise UnusableRowError("missing-column", f"no {name!r}")
    value = values[name]
    if value is None or (isinstance(value, str) and not value.strip()):
        is_document = config.produces == "corpus" and name == config.columns.text
        raise UnusableRowError(EMPTY if is_document else MISSING, f"no {name!r}")
    if not isinstance(value, str):
        raise UnusableRowError("not-text", f"{name!r} is {type(value).__name__}")
    return checked_text(value, config.max_record_bytes)


def checked_text(text: str, max_bytes: int) -> str:
    """The text, if it can be stored.

    Raises:
        UnusableRowError: it is empty, too long, not valid Unicode, or holds NUL characters as binary files do.
    """
    if not text.strip():
        raise UnusableRowError(EMPTY)
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise UnusableRowError("bad-utf8", f"at character {error.start}") from error
    if size > max_bytes:
        raise UnusableRowError("too-long", f"{size} bytes, max_record_bytes is {max_bytes}")
    if "\0" in text:
        raise UnusableRowError("nul-character", f"at character {text.index(chr(0))}")
    return text


def _answer(values: Mapping[str, Any], name: str, config: RowsConfig) -> str:
    value = values.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return _text(values, name, config)


def _messages(values: Mapping[str, Any], name: str, role: str | None, config: RowsConfig) -> tuple[Message, ...]:
    """Messages from a list of them, or from that list as JSON text; given a ``role``, other text becomes one message of it."""
    value = values.get(name)
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.lstrip().startswith("[") else value
        except (ValueError, RecursionError) as error:
            if role is None:
                raise UnusableRowError("malformed-json", f"{name!r}: {error}") from error
        if role is not None and not (isinstance(value, list) and value and all(isinstance(item, dict) for item in value)):
            return (Message(role=role, content=_text(values, name, config)),)
    if value is None:
        raise UnusableRowError("missing-column" if name not in values else MISSING, f"no {name!r}")
    if not isinstance(value, list) or not value:
        raise UnusableRowError("not-messages", f"{name!r} is not a list of messages")
    return tuple(_message(item, name, config) for item in value)


def _message(item: object, name: str, config: RowsConfig) -> Message:
    if not isinstance(item, dict) or item.get("role") not in ROLES:
        raise UnusableRowError("not-messages", f"{name!r}: a message needs a role of {', '.join(ROLES)}")
    return Message(role=item["role"], content=_text(item, "content", config))


def _split(messages: tuple[Message, ...], config: RowsConfig, seed: int) -> Split:
    """Decided by a hash of the first question, so that rows that ask the same stay together regardless of other rows."""
    digest = hashlib.sha256(f"{seed}\0{asked(messages)}".encode()).digest()
    return "heldout" if int.from_bytes(digest[:6], "big") < config.heldout * 2**48 else "train"


def files_digest(files: Mapping[str, Path]) -> str:
    """One digest over the names and contents of files, at about disk speed."""
    digest = hashlib.sha256()
    for name in sorted(files):
        with files[name].open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{name}\0{content}\n".encode("utf-8", "surrogateescape"))
    return f"sha256:{digest.hexdigest()}"
