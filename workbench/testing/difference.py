"""Where two outputs that should be equal differ first, in words."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

from workbench.testing.sandbox import tree

SHOWN = 80


def first_difference(expected: Path, found: Path) -> str:
    """The first file that differs, and the first row or line in it; empty where nothing differs."""
    before, after = tree(expected), tree(found)
    for name in sorted({*before, *after}):
        if before.get(name) == after.get(name):
            continue
        if name not in after or name not in before:
            return f"{name} is there {'only in the first run' if name in before else 'only in the other run'}"
        return f"{name}{_within(expected / name, found / name)}"
    return ""


def _within(expected: Path, found: Path) -> str:
    if expected.suffix == ".parquet":
        return _first_row(expected, found)
    if expected.suffix == ".safetensors":
        return _first_tensor(expected, found)
    try:
        before, after = (file.read_text(encoding="utf-8").splitlines() for file in (expected, found))
    except UnicodeDecodeError:
        return ""
    for number, (left, right) in enumerate(zip_longest(before, after), 1):
        if left != right:
            return f", line {number}: {_short(left)}, then {_short(right)}"
    return ", line ends"


def _first_row(expected: Path, found: Path) -> str:
    import pyarrow.parquet as pq

    before, after = pq.read_table(expected).to_pylist(), pq.read_table(found).to_pylist()
    left: dict[str, object]
    right: dict[str, object]
    for number, (left, right) in enumerate(zip_longest(before, after, fillvalue={})):
        for column in {**left, **right}:
            if left.get(column) != right.get(column):
                return f", row {number}, column {column!r}: {_short(left.get(column))}, then {_short(right.get(column))}"
    return ", in its metadata"


def _first_tensor(expected: Path, found: Path) -> str:
    from safetensors.numpy import load_file

    before, after = load_file(expected), load_file(found)
    for name in sorted({*before, *after}):
        if name not in before or name not in after or before[name].shape != after[name].shape:
            return f", tensor {name!r} has another shape"
        if (gap := abs(before[name] - after[name]).max()) > 0:
            return f", tensor {name!r} by up to {gap:.2g}"
    return ", in its metadata"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
