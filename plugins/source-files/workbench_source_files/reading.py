"""Readers: how a file of each type becomes rows, in bounded memory."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import ArtifactError
from workbench.kinds.rows import BadRow, Row, needed_columns, require_columns
from workbench_source_files.limits import Limits, decoded_bytes, lines, open_text
from workbench_source_files.paragraphs import packed, paragraphs

if TYPE_CHECKING:
    import pyarrow as pa

    from workbench_source_files import FilesConfig

Rows = Iterator[Row | BadRow]
Reader = Callable[[str, Path, "FilesConfig", Limits], Rows]
_ROWS_PER_BATCH = 64
_LINE_PIECE = 1 << 16


def read(name: str, file: Path, config: FilesConfig, limits: Limits) -> Rows:
    """The rows of one file; ``name`` is its path relative to the folder.

    Raises:
        ArtifactError: wrong columns, or a limit is passed.
    """
    reader = next(reader for suffix, reader in _READERS.items() if name.lower().endswith(suffix))
    return reader(name, file, config, limits)


def _source(name: str) -> str:
    """The folder, or the type of a file that lies in none."""
    folder, _, last = name.rpartition("/")
    return folder.split("/")[0] or last.lower().split(".", 1)[-1]


def _read_text(name: str, file: Path, config: FilesConfig, limits: Limits) -> Rows:
    source = _source(name)
    with open_text(name, file, limits) as stream:
        if config.split == "none":
            text = stream.read(limits.record_bytes + 1)
            if len(text) > limits.record_bytes:
                yield BadRow(name, "too-long", f"more than max_record_bytes {limits.record_bytes}; `split: paragraphs` cuts it")
            else:
                yield Row(name, source, _values(text, source, config))
            return
        pieces = iter(lambda: stream.readline(_LINE_PIECE), "")
        for line, text in packed(paragraphs(pieces, config.max_characters), config.max_characters):
            yield Row(f"{name}:{line}", source, _values(text, source, config))


def _values(text: str, source: str, config: FilesConfig) -> dict[str, str]:
    # Plain text has no columns: it takes the names that the map gives, so that it can lie beside tables.
    named = {config.columns.source: source} if config.columns.source else {}
    return {**named, config.columns.text: text}


def _read_jsonl(name: str, file: Path, config: FilesConfig, limits: Limits) -> Rows:
    source, checked = _source(name), False
    with open_text(name, file, limits) as stream:
        for number, line in lines(stream, limits.record_bytes):
            row = _json_row(f"{name}:{number}", source, line, limits)
            if row is None:
                continue
            if isinstance(row, Row) and not checked:
                require_columns(list(row.values), config, f"{name}, line {number}")
                checked = True
            yield row


def _json_row(origin: str, source: str, line: str | None, limits: Limits) -> Row | BadRow | None:
    if line is None:
        return BadRow(origin, "too-long", f"more than max_record_bytes {limits.record_bytes}")
    if not line.strip():
        return None
    try:
        line.encode()
        values = json.loads(line)
    except UnicodeEncodeError as error:
        return BadRow(origin, "bad-utf8", f"at character {error.start}")
    except (ValueError, RecursionError) as error:
        return BadRow(origin, "malformed-json", str(error))
    if not isinstance(values, dict):
        return BadRow(origin, "malformed-json", f"{type(values).__name__} instead of an object")
    return Row(origin, source, values)


def _read_csv(name: str, file: Path, config: FilesConfig, limits: Limits) -> Rows:
    with open_text(name, file, limits) as stream, _field_limit(limits.record_bytes):
        feed = _CsvFeed(name, lines(stream, limits.record_bytes), limits.record_bytes)
        reader = csv.reader(feed, strict=True)
        try:
            header = next(reader, [])
        except csv.Error as error:
            raise ArtifactError(f"the header is no CSV: {error}", name, "give the columns' names in the first line") from error
        require_columns(header, config, name)
        while (row := _csv_row(name, reader, feed, header)) is not None:
            yield row
        yield from feed.too_long


def _csv_row(name: str, reader: Iterator[list[str]], feed: _CsvFeed, header: list[str]) -> Row | BadRow | None:
    feed.start_row()
    try:
        fields = next((fields for fields in reader if fields), None)  # blank lines are no rows
    except csv.Error as error:
        return BadRow(f"{name}:{feed.line}", "malformed-csv", str(error))
    origin = f"{name}:{feed.line}"
    if fields is None:
        return None
    if len(fields) != len(header):
        return BadRow(origin, "malformed-csv", f"{len(fields)} fields instead of {len(header)}")
    return Row(origin, _source(name), dict(zip(header, fields, strict=True)))


class _CsvFeed:
    """Lines for the CSV reader, which would otherwise swallow a whole file after one open quote."""

    def __init__(self, name: str, numbered: Iterator[tuple[int, str | None]], limit: int) -> None:
        self.line = 0
        self.too_long: list[BadRow] = []
        self._name, self._numbered, self._limit = name, numbered, limit
        self._taken = 0

    def start_row(self) -> None:
        """Count the length of a row anew."""
        self._taken = 0

    def __iter__(self) -> _CsvFeed:
        return self

    def __next__(self) -> str:
        for number, line in self._numbered:
            self.line = number
            if line is None:
                self.too_long.append(BadRow(f"{self._name}:{self.line}", "too-long", f"more than max_record_bytes {self._limit}"))
                continue
            self._taken += len(line)
            if self._taken > self._limit:
                fix = "close the quotation mark that was opened before, or raise `max_record_bytes`"
                raise ArtifactError(
                    f"a CSV row is longer than max_record_bytes {self._limit}", f"{self._name}, line {self.line}", fix
                )
            return line
        raise StopIteration


@contextmanager
def _field_limit(size: int) -> Iterator[None]:
    before = csv.field_size_limit(size)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _read_parquet(name: str, file: Path, config: FilesConfig, limits: Limits) -> Rows:
    import pyarrow.parquet as pq

    source, needed = _source(name), needed_columns(config)
    with pq.ParquetFile(file) as table:
        require_columns(table.schema_arrow.names, config, name)
        _require_bounded(name, table, limits)
        texts = _text_columns(table, needed)
    number = decoded = 0
    # A page's dictionary stays one: written out, a value of a few megabytes that many rows share would fill the memory.
    with pq.ParquetFile(file, read_dictionary=texts) as table:
        for batch in table.iter_batches(_ROWS_PER_BATCH, columns=needed):
            size = decoded_bytes(batch.columns)
            decoded += size
            limits.require(decoded, file.stat().st_size, name)
            for row in range(batch.num_rows):
                number += 1
                origin = f"{name}#{number}"
                if size > limits.record_bytes and decoded_bytes(batch.slice(row, 1).columns) > limits.record_bytes:
                    yield BadRow(origin, "too-long", f"more than max_record_bytes {limits.record_bytes}")
                else:
                    yield _arrow_row(origin, source, batch, row)


def _require_bounded(name: str, table: pa.parquet.ParquetFile, limits: Limits) -> None:
    metadata = table.metadata
    groups = [metadata.row_group(place) for place in range(metadata.num_row_groups)]
    chunks = [group.column(place) for group in groups for place in range(group.num_columns)]
    limits.require(
        sum(chunk.total_uncompressed_size for chunk in chunks), sum(chunk.total_compressed_size for chunk in chunks), name
    )


def _text_columns(table: pa.parquet.ParquetFile, needed: Sequence[str]) -> list[str]:
    """Paths of the columns of bytes or text at or below those that are needed."""
    columns = [table.schema.column(place) for place in range(len(table.schema))]
    found = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
    return [path for path in found if path.split(".")[0] in needed or path in needed]


def _arrow_row(origin: str, source: str, batch: pa.RecordBatch, row: int) -> Row | BadRow:
    try:
        return Row(origin, source, {name: batch.column(name)[row].as_py() for name in batch.schema.names})
    except UnicodeDecodeError as error:
        return BadRow(origin, "bad-utf8", str(error))


_READERS: dict[str, Reader] = {
    ".txt": _read_text,
    ".md": _read_text,
    ".jsonl": _read_jsonl,
    ".jsonl.gz": _read_jsonl,
    ".jsonl.zst": _read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
