"""Parquet directories: the storage of every tabular artifact."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import ArtifactError

if TYPE_CHECKING:
    import pyarrow as pa

Columns = Mapping[str, Any]
"""Column → type: an Arrow alias such as ``string``, ``int64``, ``double`` or ``bool``, an Arrow type, ``[T]`` for a list
of T, or ``{name: T}`` for a struct. Declared this way so that listing a plugin does not import pyarrow."""
ROWS_PER_BATCH = 1_000
CHARACTERS_PER_BATCH = 16_000_000
"""Characters of text per batch, so that memory is bounded for long rows too."""
ROWS_PER_SHARD = 200_000


def content_id(record: Mapping[str, Any]) -> str:
    """A document's identity: 32 hexadecimal digits of the SHA-256 of its canonical JSON."""
    canonical = json.dumps(record, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def schema(columns: Columns) -> pa.Schema:
    """The Arrow schema of declared columns."""
    import pyarrow as pa

    return pa.schema([(name, _arrow_type(declared)) for name, declared in columns.items()])


def _arrow_type(declared: Any) -> pa.DataType:
    import pyarrow as pa

    if isinstance(declared, str):
        return pa.type_for_alias(declared)
    if isinstance(declared, Mapping):
        return pa.struct([(name, _arrow_type(inner)) for name, inner in declared.items()])
    if isinstance(declared, list):
        return pa.list_(_arrow_type(declared[0]))
    return declared


class ShardWriter:
    """Writes rows as Parquet shards ``<prefix>-00000.parquet`` in bounded memory; a context manager.

    The bytes depend only on the rows, the columns and the pyarrow version. One shard is written even without rows.
    """

    def __init__(self, directory: Path, columns: Columns, prefix: str = "part") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.rows = 0
        self._directory, self._schema, self._prefix = directory, schema(columns), prefix
        self._pending: list[Mapping[str, Any]] = []
        self._characters = 0
        self._shard = 0
        self._file = self._open()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._file.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Add one row."""
        self._pending.append(row)
        self.rows += 1
        self._characters += sum(len(value) for value in row.values() if isinstance(value, str))
        if len(self._pending) == ROWS_PER_BATCH or self._characters >= CHARACTERS_PER_BATCH:
            self._flush()

    def widen(self, columns: Columns) -> None:
        """Go on with more columns or fields, which are null in the rows so far."""
        self._flush()
        self._file.close()
        written = shards(self._directory, self._prefix)[: self._shard + 1]
        former = [shard.rename(shard.with_suffix(".former")) for shard in written]
        self._schema, self._shard, self.rows = schema(columns), 0, 0
        self._file = self._open()
        for shard in former:
            for row in _rows_of(shard):
                self.write(row)
            shard.unlink()

    def _open(self) -> pa.parquet.ParquetWriter:
        import pyarrow.parquet as pq

        path = self._directory / f"{self._prefix}-{self._shard:05d}.parquet"
        return pq.ParquetWriter(path, self._schema, compression="zstd", compression_level=3)

    def _flush(self) -> None:
        if not self._pending:
            return
        if self.rows > (self._shard + 1) * ROWS_PER_SHARD:
            self._file.close()
            self._shard += 1
            self._file = self._open()
        import pyarrow as pa

        self._file.write_batch(pa.RecordBatch.from_pylist(self._pending, schema=self._schema))
        self._pending, self._characters = [], 0


def _rows_of(shard: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(shard) as file:
        for batch in file.iter_batches(batch_size=ROWS_PER_BATCH):
            yield from batch.to_pylist()


def write_rows(directory: Path, rows: Iterable[Mapping[str, Any]], columns: Columns, prefix: str = "part") -> int:
    """Write all rows with a :class:`ShardWriter` and return their number."""
    with ShardWriter(directory, columns, prefix) as writer:
        for row in rows:
            writer.write(row)
    return writer.rows


def shards(directory: Path, prefix: str = "part") -> list[Path]:
    """The shards of a table in order.

    Raises:
        ArtifactError: the directory holds no shard of that prefix.
    """
    found = sorted(directory.glob(f"{prefix}-*.parquet"))
    if not found:
        raise ArtifactError(
            f"no {prefix}-*.parquet file found", str(directory), "run `dvc repro`, or `dvc pull` if another machine made it"
        )
    return found


def read_batches(directory: Path, columns: list[str] | None = None, prefix: str = "part") -> Iterator[pa.RecordBatch]:
    """Stream a table as record batches.

    Raises:
        ArtifactError: there is no shard, or a column is missing, which Parquet would leave out silently.
    """
    import pyarrow.parquet as pq

    for shard in shards(directory, prefix):
        file = pq.ParquetFile(shard)
        names = file.schema_arrow.names
        for name in columns or ():
            if name not in names:
                raise ArtifactError(f"column {name!r} is missing; found {', '.join(names)}", str(shard), f"write {name!r}")
        yield from file.iter_batches(batch_size=ROWS_PER_BATCH, columns=columns)


def read_rows(directory: Path, columns: list[str] | None = None, prefix: str = "part") -> Iterator[dict[str, Any]]:
    """Stream a table as Python rows."""
    for batch in read_batches(directory, columns, prefix):
        yield from batch.to_pylist()


def count_rows(directory: Path, prefix: str = "part") -> int:
    """Number of rows, from the files' metadata alone."""
    import pyarrow.parquet as pq

    return sum(pq.ParquetFile(shard).metadata.num_rows for shard in shards(directory, prefix))


def columns_of(directory: Path, prefix: str = "part") -> dict[str, str]:
    """Column names and types."""
    return {field.name: str(field.type) for field in read_schema(directory, prefix)}


def read_schema(directory: Path, prefix: str = "part") -> pa.Schema:
    """The Arrow schema of a table's first shard."""
    import pyarrow.parquet as pq

    return pq.read_schema(shards(directory, prefix)[0])


def require_columns(directory: Path, required: Columns, prefix: str = "part") -> None:
    """Refuse a table that lacks a column or holds one of another type; extra columns, and fields of structs, are allowed.

    Raises:
        ArtifactError: names the shard, the column and the type that was expected.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    for shard in shards(directory, prefix):
        try:
            found = pq.read_schema(shard)
        except (pa.ArrowInvalid, OSError) as error:
            raise ArtifactError(
                f"not a Parquet file: {error}", str(shard), "remove it and rerun the stage that makes it"
            ) from error
        for field in schema(required):
            position = found.get_field_index(field.name)
            if position < 0:
                raise ArtifactError(
                    f"column {field.name!r} is missing; found {', '.join(found.names)}",
                    str(shard),
                    f"write {field.name!r} as {field.type}",
                )
            if not _fits(found.field(position).type, field.type):
                raise ArtifactError(
                    f"column {field.name!r} is {found.field(position).type}, not {field.type}",
                    str(shard),
                    f"write {field.name!r} as {field.type}",
                )


def _fits(found: pa.DataType, declared: pa.DataType) -> bool:
    """Whether a type is the declared one; the structs of a list may have further fields, other structs any."""
    import pyarrow as pa

    if pa.types.is_struct(declared):
        return True
    if not (pa.types.is_list(declared) and pa.types.is_struct(declared.value_type)):
        return bool(found == declared)
    if not (pa.types.is_list(found) and pa.types.is_struct(found.value_type)):
        return False
    fields = {field.name: field.type for field in found.value_type}
    return all(fields.get(field.name) == field.type for field in declared.value_type)


def require_unique(directory: Path, column: str = "id", prefix: str = "part") -> None:
    """Refuse a table in which a value of ``column`` is null or repeated.

    Raises:
        ArtifactError: names the row and the value.
    """
    seen: set[str] = set()
    for row, value in enumerate(
        value for batch in read_batches(directory, [column], prefix) for value in batch.column(0).to_pylist()
    ):
        if value is None or value in seen:
            problem = "is null" if value is None else f"{value!r} occurs twice"
            raise ArtifactError(f"column {column!r}: {problem}", f"{directory}, row {row}", "give every row a unique id")
        seen.add(value)


def require_text(directory: Path, columns: list[str], prefix: str = "part") -> None:
    """Refuse null or empty strings in the given columns.

    Raises:
        ArtifactError: names the row and the column.
    """
    row = 0
    for batch in read_batches(directory, columns, prefix):
        for name in columns:
            values = batch.column(name).to_pylist()
            for offset, value in enumerate(values):
                if not value:
                    raise ArtifactError(
                        f"column {name!r} is empty", f"{directory}, row {row + offset}", "drop the row or fill it"
                    )
        row += batch.num_rows
