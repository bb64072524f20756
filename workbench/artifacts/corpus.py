"""Corpus: documents as Parquet shards with ``id``, ``text``, ``source`` and ``meta``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from workbench.artifacts import table
from workbench.errors import ArtifactError

SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string()), ("source", pa.string()), ("meta", pa.struct([]))])


@dataclass(frozen=True)
class Document:
    """A text with its origin."""

    text: str
    source: str
    """Where it comes from, coarsely: a package, a site, a file type."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Where it comes from, exactly, such as a path or a qualified name."""

    @property
    def id(self) -> str:
        """Hash of the whole record."""
        return table.content_id({"text": self.text, "source": self.source, "meta": dict(self.meta)})


@dataclass(frozen=True)
class Corpus:
    """A corpus directory, read as a stream."""

    path: Path

    def __len__(self) -> int:
        return table.count_rows(self.path)

    def rows(self, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
        """Rows in file order."""
        return table.read_rows(self.path, columns)

    def texts(self) -> Iterator[str]:
        """The documents' texts in file order."""
        return (row["text"] for row in self.rows(["text"]))

    def ids(self) -> list[str]:
        """The documents' ids in file order."""
        return [row["id"] for row in self.rows(["id"])]


def schema(meta_fields: Sequence[str] | Mapping[str, pa.DataType]) -> pa.Schema:
    """The corpus schema with ``meta`` as a struct of the given fields, strings unless a type is given."""
    types = meta_fields if isinstance(meta_fields, Mapping) else {name: pa.string() for name in meta_fields}
    meta = pa.struct([pa.field(name, type_) for name, type_ in types.items()])
    return SCHEMA.set(3, pa.field("meta", meta))


def write(directory: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> int:
    """Write rows with the columns ``id``, ``text``, ``source``, ``meta``; returns their number."""
    return table.write_rows(directory, rows, schema)


def validate(directory: Path) -> None:
    """Check columns, unique ids, non-empty texts, and that there is a document at all.

    Raises:
        ArtifactError: says the row, the column and the fix.
    """
    table.require_columns(directory, SCHEMA)
    if table.count_rows(directory) == 0:
        raise ArtifactError("the corpus has no document", str(directory), "loosen the filters, or look at what the source read")
    table.require_unique(directory)
    table.require_text(directory, ["text", "source"])
