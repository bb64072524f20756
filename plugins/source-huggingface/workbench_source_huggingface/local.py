"""Data sets in a local folder: one written by ``save_to_disk``, or files of rows, each read with the types that it has itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from workbench.kinds.recognition import recognise
from workbench.kinds.rows import Row, Sniffed
from workbench.kinds.values import unpadded

Values = Mapping[str, Any]
_SAVED = ("state.json", "dataset_dict.json")
_CARDS = ("README.md", "dataset_infos.json")
_NAME = re.compile(r"\w+(\.\w+)*")
_LOOKED_AT = 100


@dataclass(frozen=True)
class Files:
    """The rows of files of one type, one file after the other, so that no file's types are held against another's."""

    type: str
    """The builder's name, such as ``json``."""
    paths: tuple[str, ...]

    def __iter__(self) -> Iterator[Values]:
        import datasets

        for path in self.paths:
            yield from datasets.load_dataset(self.type, data_files=[path], split="train", streaming=True)

    def __len__(self) -> int:
        return sum(1 for _ in self)


Splits = Mapping[str, Any]
"""Split → its rows, which have a length."""


def is_saved(folder: Path) -> bool:
    """Whether ``save_to_disk`` wrote the folder."""
    return any((folder / name).is_file() for name in _SAVED)


def has_card(folder: Path) -> bool:
    """Whether the folder may say itself how its files are to be read."""
    return any((folder / name).is_file() for name in _CARDS)


def saved_splits(folder: Path) -> Splits:
    """The splits of a saved data set; one that was saved without a name is ``train``."""
    import datasets

    saved = datasets.load_from_disk(str(folder))
    if isinstance(saved, datasets.DatasetDict):
        return {str(name): rows for name, rows in saved.items()}
    name = str(saved.split or "train")
    return {name if _NAME.fullmatch(name) else "train": saved}


def splits_of_files(path: str, cache: Path) -> Splits:
    """The splits that the names of a folder's files tell."""
    import datasets

    builder = datasets.load_dataset_builder(path, cache_dir=str(cache))
    found = builder.config.data_files or {}
    return {str(split): Files(builder.name, tuple(map(str, files))) for split, files in found.items()}


def of_split(splits: Splits, spec: str) -> Iterable[Values]:
    """The rows that a specification such as ``train[:10%]+test`` names.

    Raises:
        ValueError: there is no such split, or it is no specification.
    """
    import datasets

    names = [part.split("[")[0].strip() for part in spec.split("+")]
    for name in names:
        if name not in splits:
            raise ValueError(f"no split {name!r}; there is {', '.join(splits) or 'none'}")
    if "[" not in spec:
        return chain.from_iterable(splits[name] for name in names)
    lengths = {name: len(splits[name]) for name in set(names)}
    parts = datasets.ReadInstruction.from_spec(spec).to_absolute(lengths)
    return chain.from_iterable(islice(splits[part.splitname], part.from_, part.to) for part in parts)


def sniff(path: str) -> Sniffed | None:
    """What a saved data set holds, judged by its first split."""
    folder = Path(path).expanduser()
    if not (folder.is_dir() and is_saved(folder)):
        return None
    splits = saved_splits(folder)
    name = next(iter(splits))
    first = [{column: unpadded(value) for column, value in values.items()} for values in islice(splits[name], _LOOKED_AT)]
    rows = [Row(f"{name}#{number}", "huggingface", values) for number, values in enumerate(first)]
    way = recognise([row.values for row in rows])
    named = ", ".join(f"{split} ({len(kept)})" for split, kept in splits.items())
    columns = ", ".join(map(repr, rows[0].values)) if rows else "none"
    settings = {"dataset": path, "split": name, **(way.settings() if way else {})}
    what = f"a data set written by save_to_disk, its splits {named}; {name} has the columns {columns}"
    return Sniffed(what, settings, rows, way.fit if way else 0)
