"""Corpus: documents as Parquet shards with ``id``, ``text``, ``source`` and ``meta``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.artifacts import table
from workbench.artifacts.table import Columns
from workbench.errors import ArtifactError, PluginError

COLUMNS: Columns = {"id": "string", "text": "string", "source": "string", "meta": {}}


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
        """Hash of the text alone, so that it stays the same wherever the text stands; see :class:`Identities`."""
        return table.content_id({"text": self.text})


class Identities:
    """Gives each document of a corpus an id of its own: its text's, and where a text comes again that with ``-2``, ``-3`` …"""

    def __init__(self) -> None:
        self._copies: Counter[str] = Counter()

    def give(self, document: Document) -> str:
        """The id of the next document."""
        identity = document.id
        self._copies[identity] += 1
        return identity if self._copies[identity] == 1 else f"{identity}-{self._copies[identity]}"


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


def schema(meta_fields: Sequence[str] | Columns) -> Columns:
    """The corpus's columns with ``meta`` as a struct of the given fields, strings unless a type is given.

    Raises:
        PluginError: there is no field; Parquet has no empty struct.
    """
    meta = dict(meta_fields) if isinstance(meta_fields, Mapping) else dict.fromkeys(meta_fields, "string")
    if not meta:
        raise PluginError("a document's `meta` has no fields", "corpus", "name one, such as `origin`, in `meta_fields`")
    return {**COLUMNS, "meta": meta}


def write(directory: Path, rows: Iterable[Mapping[str, Any]], columns: Columns) -> int:
    """Write rows with the columns ``id``, ``text``, ``source``, ``meta``; returns their number."""
    return table.write_rows(directory, rows, columns)


def validate(directory: Path) -> None:
    """Check columns, unique ids, non-empty texts, and that there is at least one document.

    Raises:
        ArtifactError: says the row, the column and the fix.
    """
    table.require_columns(directory, COLUMNS)
    if table.count_rows(directory) == 0:
        raise ArtifactError("the corpus is empty", str(directory), "loosen the filters, or look at what the source read")
    table.require_unique(directory)
    table.require_text(directory, ["text", "source"])
