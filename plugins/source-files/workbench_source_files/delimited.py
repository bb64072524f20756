"""Tables of delimited text (RFC 4180 and its dialects) as rows, with what an open quotation mark swallows set apart."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import ArtifactError
from workbench.kinds.rows import BadRow, Row, require_columns
from workbench_source_files.limits import Limits, lines, open_text

if TYPE_CHECKING:
    from workbench_source_files import CsvDialect, FilesConfig

DELIMITERS = {",": ",", "\t": "\\t", ";": ";", "|": "|"}
"""Each as it is written in YAML between double quotation marks."""
_DOUBTFUL = 10
"""Lines of one quoted value from which they are taken for rows between two stray quotation marks, if each is a whole row."""

_QUOTED = 100
"""Characters of a malformed line that are shown."""


def read_delimited(
    name: str, file: Path, config: FilesConfig, limits: Limits, *, source: str, delimiter: str
) -> Iterator[Row | BadRow]:
    """The rows of a table whose first line names its columns; of an empty file, none.

    Raises:
        ArtifactError: wrong columns, or a row is longer than the limit.
    """
    options = reader_options(config.csv, delimiter)
    with open_text(name, file, limits) as stream, _field_limit(limits.record_bytes):
        feed = _Feed(name, lines(stream, limits.record_bytes), limits.record_bytes)
        try:
            header = next((fields for fields in csv.reader(feed, **options) if fields), [])
        except csv.Error as error:
            raise ArtifactError(f"the header is no CSV: {error}", name, "give the columns' names in the first line") from error
        if not header:
            return
        rows = _Table(name, source, header, feed, options).rows()
        if not config.reading.fits(set(header)):
            sample = [row.values for row in rows if isinstance(row, Row)][:1]
            require_columns(header, config, name, sample, _other_delimiter(feed.first, config, options))
        require_columns(header, config, name)
        yield from rows


def reader_options(dialect: CsvDialect, delimiter: str) -> dict[str, Any]:
    """What ``csv.reader`` is told."""
    return {
        "delimiter": dialect.delimiter or delimiter,
        "quotechar": dialect.quote,
        "quoting": csv.QUOTE_NONE if dialect.quote is None else csv.QUOTE_MINIMAL,
        "escapechar": dialect.escape,
        "strict": True,
    }


def _other_delimiter(line: str, config: FilesConfig, options: dict[str, Any]) -> str:
    """The remedy where the header makes sense with another delimiter."""
    for delimiter, written in DELIMITERS.items():
        fields = next(csv.reader([line], **{**options, "delimiter": delimiter, "strict": False}), [])
        if config.reading.fits(set(fields)):
            return f'its columns are parted by {delimiter!r}: set `csv: {{delimiter: "{written}"}}`'
    return ""


class _Table:
    """The rows below a header, one at a time, so that what is malformed harms no more than the lines that it spans."""

    def __init__(self, name: str, source: str, header: Sequence[str], feed: _Feed, options: dict[str, Any]) -> None:
        self._name, self._source, self._header, self._feed, self._options = name, source, header, feed, options

    def rows(self) -> Iterator[Row | BadRow]:
        """Rows in the order of the file."""
        while True:
            yield from self._feed.passed_over()
            self._feed.begin()
            try:
                fields = next(csv.reader(self._feed, **self._options), None)
            except csv.Error as error:
                yield self._malformed(str(error))
                continue
            if fields is None:
                yield from self._feed.passed_over()
                return
            if fields:  # blank lines are no rows
                yield self._row(fields)

    def _row(self, fields: list[str]) -> Row | BadRow:
        if len(fields) != len(self._header):
            return self._malformed(f"{len(fields)} fields instead of {len(self._header)}")
        inner = self._feed.taken[1:-1]
        if len(inner) >= _DOUBTFUL and self._are_rows(inner):
            return self._apart(f"a quoted value spans {len(inner)} lines that are rows by themselves")
        return Row(f"{self._name}:{self._feed.line}", self._source, dict(zip(self._header, fields, strict=True)))

    def _malformed(self, problem: str) -> BadRow:
        """The first of the lines that were taken, if the others are rows by themselves, else all of them."""
        swallowed = self._feed.taken[1:]
        if swallowed and self._are_rows(swallowed):
            bad = self._apart(problem, records=1)
            self._feed.give_back(swallowed)
            return bad
        return self._apart(problem)

    def _apart(self, problem: str, records: int | None = None) -> BadRow:
        taken = self._feed.taken
        first, line = taken[0]
        if self._options["escapechar"] is None and any('\\"' in text for _, text in taken):
            fix = r'`\"` stands for a quotation mark there: set `csv: {escape: "\\"}`'
        elif len(taken) > 1:
            fix = (
                f"close the quotation mark that was opened in line {first}, or set `csv: {{quote: null}}` if such marks are text"
            )
        else:
            fix = "quote values that hold the delimiter or a line end, and double the quotation marks in them"
        spanned = f"; from here to line {taken[-1][0]}" if len(taken) > 1 else ""
        return BadRow(
            f"{self._name}:{first}", "malformed-csv", f"{problem}{spanned}: {line.strip()[:_QUOTED]}", fix, records or len(taken)
        )

    def _are_rows(self, numbered: Sequence[tuple[int, str]]) -> bool:
        """Whether each line is a whole row of several fields."""
        if len(self._header) < 2:
            return False
        for _, line in numbered:
            try:
                fields = next(csv.reader([line], **self._options), [])
            except csv.Error:
                return False
            if line.strip() and len(fields) != len(self._header):
                return False
        return True


class _Feed:
    """Lines for the CSV reader, which would otherwise swallow a whole file after one open quote; lines can be given back."""

    def __init__(self, name: str, numbered: Iterator[tuple[int, str | None]], limit: int) -> None:
        self.taken: list[tuple[int, str]] = []
        """The lines of the row that is being read, with their numbers."""
        self.first = ""
        """The header, as far as it stands in one line."""
        self._name, self._numbered, self._limit = name, numbered, limit
        self._ahead: deque[tuple[int, str]] = deque()
        self._characters = 0
        self._too_long: list[BadRow] = []

    @property
    def line(self) -> int:
        """The number of the last line that was taken."""
        return self.taken[-1][0]

    def begin(self) -> None:
        """Begin a row."""
        self.taken, self._characters = [], 0

    def passed_over(self) -> list[BadRow]:
        """The lines since the last call that are too long to be read."""
        passed, self._too_long = self._too_long, []
        return passed

    def give_back(self, numbered: Sequence[tuple[int, str]]) -> None:
        """Let the next row begin with these lines."""
        self._ahead.extendleft(reversed(numbered))

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        while True:
            number, line = self._ahead.popleft() if self._ahead else next(self._numbered)
            if line is None and not self.taken:
                bad = BadRow(f"{self._name}:{number}", "too-long", f"more than max_record_bytes {self._limit}")
                self._too_long.append(bad)
                continue
            self._characters += self._limit + 1 if line is None else len(line)
            if line is None or self._characters > self._limit:
                begun = self.taken[0][0] if self.taken else number
                fix = f"close the quotation mark that was opened in line {begun}, or raise `max_record_bytes`"
                raise ArtifactError(
                    f"a CSV row is longer than max_record_bytes {self._limit}", f"{self._name}, line {number}", fix
                )
            self.first = self.first or line
            self.taken.append((number, line))
            return line


@contextmanager
def _field_limit(size: int) -> Iterator[None]:
    before = csv.field_size_limit(size)
    try:
        yield
    finally:
        csv.field_size_limit(before)
