"""Readers: how a file of each type becomes rows, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.kinds.rows import BadRow, Row, require_columns
from workbench.kinds.values import unpadded
from workbench_source_files.delimited import read_delimited
from workbench_source_files.finding import type_of
from workbench_source_files.json_rows import read_json
from workbench_source_files.limits import Limits, decoded_bytes, open_text
from workbench_source_files.paragraphs import packed, paragraphs

if TYPE_CHECKING:
    import pyarrow as pa

    from workbench_source_files import FilesConfig

Rows = Iterator[Row | BadRow]
_ROWS_PER_BATCH = 64
_SAMPLED = 5
_LINE_PIECE = 1 << 16


def read(name: str, file: Path, config: FilesConfig, limits: Limits) -> Rows:
    """The rows of one file; ``name`` is its path relative to the folder.

    Raises:
        ArtifactError: wrong columns, or a limit is passed.
    """
    kind = type_of(name)
    if kind in (".txt", ".md"):
        return _read_text(name, file, config, limits)
    if kind in (".csv", ".tsv"):
        delimiter = "\t" if kind == ".tsv" else ","
        return read_delimited(name, file, config, limits, source=_source(name), delimiter=delimiter)
    if kind == ".parquet":
        return _read_parquet(name, file, config, limits)
    return read_json(name, file, config, limits, source=_source(name))


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


def _read_parquet(name: str, file: Path, config: FilesConfig, limits: Limits) -> Rows:
    import pyarrow.parquet as pq

    source = _source(name)
    with pq.ParquetFile(file) as table:
        _require_bounded(name, table, limits)
        present = table.schema_arrow.names
        require_columns(present, config, name, _sample(table) if not config.reading.fits(set(present)) else ())
        needed = [column for column in present if config.reading.reads(column)]
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


def _sample(table: pa.parquet.ParquetFile) -> list[dict[str, Any]]:
    """The first rows, by which an error tells how they can be read."""
    rows = next(table.iter_batches(_SAMPLED)).to_pylist() if table.metadata.num_rows else []
    return [{name: unpadded(value) for name, value in row.items()} for row in rows]


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
        return Row(origin, source, {name: unpadded(batch.column(name)[row].as_py()) for name in batch.schema.names})
    except UnicodeDecodeError as error:
        return BadRow(origin, "bad-utf8", str(error))
