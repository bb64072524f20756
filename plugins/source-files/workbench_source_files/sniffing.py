"""Guesses what files are: their dialect, the artifact that their rows make, and how they are read."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from itertools import islice
from typing import Any

from workbench.kinds.columns import Reading
from workbench.kinds.recognition import recognise
from workbench.kinds.rows import BadRow, Row, Sniffed
from workbench_source_files import CsvDialect, FilesConfig
from workbench_source_files.delimited import DELIMITERS
from workbench_source_files.finding import Found, find, type_of
from workbench_source_files.limits import Limits
from workbench_source_files.reading import read

_LOOKED_AT = 100
"""Rows by which a file is judged."""
_TEXTS = (".txt", ".md")
_DIALECTS = tuple(CsvDialect(delimiter=delimiter, escape=escape) for escape in (None, "\\") for delimiter in (None, *DELIMITERS))


class _AnyReading(Reading):
    """Takes every column."""

    def reads(self, column: str) -> bool:
        """It does."""
        return True

    def fits(self, present: set[str]) -> bool:
        """They do."""
        return True


class _AnyConfig(FilesConfig):
    """Reads the values of rows of any shape."""

    @cached_property
    def reading(self) -> Reading:
        """Of every column."""
        return _AnyReading("corpus")


def sniff(path: str) -> Sniffed:
    """What the files at a path are, judged by the first one that holds rows.

    Raises:
        ArtifactError: there is no such path or no file of a known type, or the file can't be read.
    """
    found = find(path)
    tables = [name for name in found.files if type_of(name) not in _TEXTS]
    if not tables:
        rows = _first(found, next(iter(found.files)), _AnyConfig(path=path))
        return Sniffed(_described(found), {"path": path, "produces": "corpus"}, rows, len(rows))
    name, dialect, rows = next(
        (looked for looked in (_look(found, table) for table in tables) if looked[2]), _look(found, tables[0])
    )
    good = [row for row in rows if isinstance(row, Row)]
    way = recognise([row.values for row in good])
    settings: dict[str, Any] = {"path": path, **(way.settings() if way else {})}
    if asked := dialect.model_dump(exclude_defaults=True):
        settings["csv"] = asked
    columns = ", ".join(map(repr, good[0].values)) if good else "none that can be read"
    return Sniffed(f"{_described(found)}; {name} has the columns {columns}", settings, rows, way.fit if way else 0)


def _look(found: Found, name: str) -> tuple[str, CsvDialect, list[Row | BadRow]]:
    """The first rows of a file, by the dialect in which most of them are whole and have most columns."""
    if type_of(name) not in (".csv", ".tsv"):
        return name, CsvDialect(), _first(found, name, _AnyConfig(path=name))
    read_by = {dialect: _first(found, name, _AnyConfig(path=name, csv=dialect)) for dialect in _DIALECTS}
    best = max(read_by, key=lambda dialect: _soundness(read_by[dialect]))
    return name, best, read_by[best]


def _first(found: Found, name: str, config: FilesConfig) -> list[Row | BadRow]:
    limits = Limits(config.max_record_bytes, config.max_decompressed_bytes, config.max_compression_ratio)
    return list(islice(read(name, found.files[name], config, limits), _LOOKED_AT))


def _soundness(rows: list[Row | BadRow]) -> tuple[bool, int, float]:
    whole = [row for row in rows if isinstance(row, Row)]
    columns = len(whole[0].values) if whole else 0
    return 2 * len(whole) > len(rows), columns, len(whole) / len(rows) if rows else 0.0


def _described(found: Found) -> str:
    types = Counter(type_of(name) for name in found.files)
    named = ", ".join(f"{number} {kind}" for kind, number in sorted(types.items()))
    ignored = f", and {found.ignored} of other types, which are not read" if found.ignored else ""
    return f"{len(found.files)} file{'s' * (len(found.files) != 1)} ({named}){ignored}"
