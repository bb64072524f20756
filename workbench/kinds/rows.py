"""Sources of rows, from tables of any origin: a column map, a quarantine for bad rows and a limit on their share."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import Field, model_validator

from workbench.artifacts.corpus import Document
from workbench.artifacts.examples import Conversation, Example, Message, Split, asked
from workbench.errors import ArtifactError
from workbench.kinds.columns import FORMATS, ColumnMap, Format, Produces, Reading
from workbench.kinds.recognition import recognise
from workbench.kinds.shapes import Shaped, shape
from workbench.kinds.source import Source
from workbench.kinds.values import EMPTY, UnusableRowError, is_missing, text_of
from workbench.plugin import Config
from workbench.run import Run

SHOWN = 20
"""Rows set apart that are shown, of each reason."""
DETAIL = 200
SAMPLES = 5
"""Rows set apart by whose values the right format is guessed."""
OFFERED = 0.5
"""Share of bad records up to which leaving them out is a remedy."""
REMEDIES: Mapping[str, str] = {
    "bad-utf8": "save the files as UTF-8, for example by `iconv -f latin1 -t utf-8 OLD > NEW`",
    "too-long": "raise `max_record_bytes`",
    "unread-field": (
        "read the field with the format or the entry of `columns:` that knows it, or list it under `ignored_columns` if it says "
        "nothing here"
    ),
    "missing-value": "fill in the values, or name under `columns:` the columns that hold them",
    "not-text-part": "describe in text what else the messages hold",
    "no-gold": "set `format: prompt-answer` if the whole column is the answer",
}
"""Reason → what to do about it; else the records need mending."""


class RowsConfig(Config):
    """Settings common to every source of rows."""

    produces: Produces = "corpus"
    """The artifact format made from the rows."""
    format: Format = "auto"
    """The shape of the rows; auto takes for each row the first whose columns it has: for conversations messages, sharegpt,
    alpaca, prompt-completion; for problems gsm8k, where the answer ends in a line ``#### ANSWER``, else prompt-answer."""
    columns: ColumnMap = ColumnMap()
    """The column map."""
    verifier: str | None = None
    """Problems: the reward plugin that checks every answer; null reads it from a column."""
    ignored_columns: tuple[str, ...] = ()
    """Columns that may stay unread although their name says that they change a row's meaning, such as `weight` or `context`."""
    heldout: float = Field(0.05, ge=0, lt=1)
    """Share of the first questions whose rows are held out, drawn by its words: blanks, case, punctuation, Unicode form
    and a system's message before it do not count. A corpus is split by `dedup` instead."""
    max_bad_share: float = Field(0.01, ge=0, le=1)
    """Largest share of records that may be unreadable; they are skipped and counted. More is an error."""
    max_record_bytes: int = Field(10_000_000, ge=1)
    """Records larger than this, in bytes of UTF-8, count as unreadable."""

    @model_validator(mode="after")
    def _format_gives_what_is_produced(self) -> Self:
        if self.format != "auto" and self.format not in FORMATS[self.produces]:
            gives = next(produces for produces, formats in FORMATS.items() if self.format in formats)
            raise ValueError(f"the format {self.format} gives {gives}; set `produces: {gives}`, or leave `format` out")
        return self

    @cached_property
    def reading(self) -> Reading:
        """How rows are read."""
        return Reading(self.produces, self.format, self.columns, self.verifier, self.ignored_columns, self.max_record_bytes)


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
    fix: str = ""
    """What to do about it, where that is known."""
    records: int = 1
    """How many records it stands for, such as the lines that an open quotation mark swallowed."""


@dataclass
class BadRows:
    """The records that were left out."""

    max_share: float
    read: int = 0
    bad: list[BadRow] = field(default_factory=list)
    number: int = 0
    samples: list[Mapping[str, Any]] = field(default_factory=list)

    def add(self, row: BadRow, values: Mapping[str, Any] | None = None) -> None:
        """Count a record, and keep it if it is among the first of its reason; empty texts are shown and are not bad."""
        if row.reason != EMPTY:
            self.number += row.records
            if values is not None and row.reason != "too-long" and len(self.samples) < SAMPLES:
                self.samples.append(values)
        if sum(shown.reason == row.reason for shown in self.bad) < SHOWN:
            self.bad.append(row)

    def rows(self) -> list[dict[str, Any]]:
        """The first few of each reason."""
        return [{"record": row.origin, "reason": row.reason, "detail": row.detail[:DETAIL]} for row in self.bad]

    def require_few(self) -> None:
        """Refuse too many.

        Raises:
            ArtifactError: names the first bad record and its problem.
        """
        if self.number > self.max_share * self.read:
            first = next(row for row in self.bad if row.reason != EMPTY)
            raise ArtifactError(
                f"{self.number} of {self.read} records are unreadable, more than max_bad_share {self.max_share:g}; "
                f"the first: {first.reason}{': ' + first.detail[:DETAIL] if first.detail else ''}",
                first.origin,
                self._remedy(first),
            )

    def _remedy(self, first: BadRow) -> str:
        remedy = first.fix or REMEDIES.get(first.reason, "mend the records")
        if self.number <= OFFERED * self.read:
            return f"{remedy}, or raise `max_bad_share` to leave them out"
        found = recognise(self.samples)
        if found and found.fit * 2 > len(self.samples):
            return f"these rows can be read by {found}"
        return f"{remedy}; `workbench sniff PATH` shows what a file is and how its rows would be read"


@dataclass
class Intake:
    """How rows were read: in which formats, and what of them was changed on purpose."""

    formats: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    shown: list[dict[str, Any]] = field(default_factory=list)

    def add(self, origin: str, shaped: Shaped) -> None:
        """Count a row."""
        self.formats[shaped.format] += 1
        for change in shaped.changes:
            self.changes[change] += 1
            if self.changes[change] <= SHOWN:
                self.shown.append({"record": origin, "change": change})

    def metrics(self) -> dict[str, int]:
        """The counts by name."""
        formats = {f"format.{name}": number for name, number in sorted(self.formats.items())}
        return {**formats, **{f"changed.{name}": number for name, number in sorted(self.changes.items())}}


@dataclass(frozen=True)
class Sniffed:
    """What a source takes a path to be."""

    what: str
    """In a few words."""
    settings: Mapping[str, Any]
    """The configuration by which the source reads it."""
    rows: Sequence[Row | BadRow]
    """The first of its rows."""
    fit: int
    """How many of them can be used."""


class RowSource(Source[R]):
    """A source whose author yields rows; the base class reads their shape and sets bad rows apart."""

    def __init__(self, config: R, parts: Mapping[str, Sequence[Any]] | None = None) -> None:
        super().__init__(config, parts)
        self.produces = config.produces  # the format is the configuration's choice
        self.shown = {}

    @classmethod
    def sniff(cls, path: str) -> Sniffed | None:  # noqa: ARG003 - those that read paths use it
        """What the source takes a path to be; None if it can read nothing there.

        Raises:
            ArtifactError: it says why it can read nothing.
        """
        return None

    @abstractmethod
    def rows(self, run: Run) -> Iterator[Row | BadRow]:
        """Yield the rows in a fixed order, in bounded memory."""

    def records(self, run: Run) -> Iterator[Document | Example]:
        """Convert the rows; count and set apart those that cannot be used."""
        quarantine, intake = BadRows(self.config.max_bad_share), Intake()
        for row in self.rows(run):
            if isinstance(row, BadRow):
                bad, values = row, None
            else:
                try:
                    record = convert(row, self.config, run.seed, intake)
                except UnusableRowError as error:
                    bad, values = BadRow(row.origin, error.reason, error.detail), row.values
                else:
                    quarantine.read += 1
                    yield record
                    continue
            quarantine.read += bad.records
            self.skip(bad.reason, bad.records)
            quarantine.add(bad, values)
        self.show(run, "quarantine", f"Records that were left out, the first {SHOWN} of each reason", quarantine.rows())
        quarantine.require_few()
        self.show(run, "changed", f"Records that were changed when they were read, the first {SHOWN} of each kind", intake.shown)
        for name, number in intake.metrics().items():
            self.add(run, name, number)


def require_columns(
    present: Sequence[str], config: RowsConfig, where: str, sample: Sequence[Mapping[str, Any]] = (), fix: str = ""
) -> None:
    """Refuse a table whose rows no shape fits, or in which a column that is read stands twice.

    The remedy is ``fix``, or else what the rows of ``sample`` look like.

    Raises:
        ArtifactError: names the columns that are missing or repeated, and those that are there.
    """
    reading = config.reading
    twice = sorted(name for name, times in Counter(present).items() if times > 1 and reading.reads(name))
    if twice:
        named = ", ".join(map(repr, twice))
        raise ArtifactError(f"two columns are called {named}", where, "rename one of them, or remove it")
    if reading.fits(set(present)):
        return
    found = None if fix else recognise(sample)
    named = "name the right columns under `columns:`, or set `produces` to what the table holds"
    raise ArtifactError(
        f"no column {_missing(reading, set(present))}; the columns are {', '.join(map(repr, present)) or 'none'}",
        where,
        fix or (f"these rows can be read by {found}; or {named}" if found else named) + "; `workbench sniff PATH` guesses it",
    )


def _missing(reading: Reading, present: set[str]) -> str:
    """The columns that are missing, for each format that is tried."""
    if reading.produces == "corpus":
        wanted = [reading.columns.text, *([reading.columns.source] if reading.columns.source else [])]
        return ", ".join(repr(name) for name in wanted if name not in present)
    columns = reading.columns
    if reading.produces == "problems":
        asks = present & {columns.prompt, columns.question, columns.instruction}
        wanted = [*([] if asks else [columns.prompt]), columns.answer, *([] if reading.verifier else [columns.verifier])]
        return ", ".join(repr(name) for name in wanted if name not in present)
    lacking = {format: [name for name in names if name not in present] for format, names in reading.required.items()}
    return ", nor ".join(f"{', '.join(map(repr, names))} (format {format})" for format, names in lacking.items() if names)


def convert(row: Row, config: RowsConfig, seed: int, intake: Intake | None = None) -> Document | Example:
    """Convert a row to a record, and note in ``intake`` how it was read.

    Raises:
        UnusableRowError: a value is missing, empty, too long or of another type.
    """
    columns, values = config.columns, row.values
    if config.produces == "corpus":
        told = columns.source is not None and not is_missing(values.get(columns.source, ""))
        source = text_of(values, columns.source, config.max_record_bytes) if told and columns.source else row.source
        return Document(text_of(values, columns.text, config.max_record_bytes, EMPTY), source, {"origin": row.origin})
    shaped = shape(values, config.reading)
    if intake is not None:
        intake.add(row.origin, shaped)
    example = shaped.example
    turns = example.messages if isinstance(example, Conversation) else example.prompt
    return replace(example, split=_split(turns, config, seed))


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
