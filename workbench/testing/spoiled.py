"""Bad inputs: artifacts that lack a column, a file or all rows, or have only one row."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

COLUMN: Mapping[str, tuple[str, str]] = {
    "corpus": ("part", "text"),
    "conversations": ("train", "messages"),
    "preferences": ("train", "chosen"),
    "problems": ("train", "answer"),
    "benchmark": ("test", "question"),
}
"""Format → prefix of the shards and the column to take away."""
PREFIXES: Mapping[str, tuple[str, ...]] = {
    "corpus": ("part",),
    "conversations": ("train", "heldout"),
    "preferences": ("train", "heldout"),
    "problems": ("train", "heldout"),
    "benchmark": ("test",),
}
FILES: Mapping[str, str] = {"tokenizer": "tokenizer.json", "model": "model.safetensors"}


def spoil(format_name: str, artifact: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Spoiled copies of an artifact below ``folder``, each with what is wrong with it."""
    for what, change in _changes(format_name):
        target = folder / what.replace(" ", "-")
        shutil.copytree(artifact, target)
        change(target)
        yield what, target


def _changes(format_name: str) -> Iterator[tuple[str, Callable[[Path], None]]]:
    if format_name in COLUMN:
        prefix, column = COLUMN[format_name]
        yield f"no column {column}", lambda path: _drop_column(path, prefix, column)
        yield "no row", lambda path: _keep_rows(path, PREFIXES[format_name], 0)
        yield "a single row", lambda path: _keep_rows(path, PREFIXES[format_name], 1)
    elif format_name in FILES:
        yield f"no file {FILES[format_name]}", lambda path: (path / FILES[format_name]).unlink()
    elif format_name == "folder":
        yield "nothing in the folder", _empty


def _drop_column(folder: Path, prefix: str, column: str) -> None:
    import pyarrow.parquet as pq

    for shard in folder.glob(f"{prefix}-*.parquet"):
        pq.write_table(pq.read_table(shard).drop_columns([column]), shard)


def _keep_rows(folder: Path, prefixes: Sequence[str], number: int) -> None:
    import pyarrow.parquet as pq

    for shard in (shard for prefix in prefixes for shard in folder.glob(f"{prefix}-*.parquet")):
        pq.write_table(pq.read_table(shard).slice(0, number), shard)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
