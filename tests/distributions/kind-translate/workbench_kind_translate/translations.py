"""Format ``translations``: ``pairs.tsv``, a line per pair of texts: id, text, translation."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from workbench.artifacts.formats import Format
from workbench.errors import ArtifactError
from workbench.run import Cell

COLUMNS = ("id", "text", "translation")
SHOWN = 20


def write(folder: Path, pairs: Iterable[tuple[str, str, str]]) -> None:
    """Write pairs of texts."""
    folder.mkdir(parents=True)
    with (folder / "pairs.tsv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerows([COLUMNS, *pairs])


def read(folder: Path) -> list[dict[str, str]]:
    """Every pair.

    Raises:
        ArtifactError: the file is missing, or a line does not hold three texts.
    """
    file = folder / "pairs.tsv"
    if not file.is_file():
        raise ArtifactError("pairs.tsv is missing", str(folder), "rerun the stage that makes it")
    with file.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened, delimiter="\t"))
    for number, row in enumerate(rows, 2):
        if tuple(row) != COLUMNS or None in row.values():
            raise ArtifactError(f"line {number} does not hold id, text and translation", str(file), "rerun the stage")
    return rows


def preview(folder: Path) -> Sequence[Mapping[str, Cell]]:
    """The first pairs."""
    return read(folder)[:SHOWN]


def validate(folder: Path) -> None:
    """Read every pair."""
    read(folder)


def count(folder: Path) -> int:
    """Number of pairs."""
    return len(read(folder))


TRANSLATIONS = Format("translations", validate, validate, count=count, preview=preview)
