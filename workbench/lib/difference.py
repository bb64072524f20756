"""Describes where two outputs that should be equal differ, file by file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

SHOWN = 80


@dataclass(frozen=True)
class Difference:
    """A file that differs."""

    file: str
    """Path within the output; empty if the output is itself a file."""
    words: str
    """The first row, line or tensor in it that differs, and by how much."""

    def __str__(self) -> str:
        return f"{self.file}{', ' if self.file and self.words else ''}{self.words}"


def first_difference(expected: Path, found: Path) -> str:
    """The first file that differs, and the first row, line or tensor in it; empty if nothing differs."""
    return str(next(iter(differences(expected, found)), ""))


def differences(expected: Path, found: Path) -> list[Difference]:
    """Every file that differs between two outputs, sorted by name."""
    before, after = _tree(expected), _tree(found)
    different = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    alone = {name: f"is there only in the {'first' if name in before else 'second'}" for name in {*before} ^ {*after}}
    return [Difference(name, alone.get(name) or _within(expected / name, found / name)) for name in different]


def _tree(output: Path) -> dict[str, str]:
    """Path of every file, empty for the output itself → SHA-256 of its content."""
    files = [output] if output.is_file() else sorted(file for file in output.rglob("*") if file.is_file())
    return {"" if file == output else file.relative_to(output).as_posix(): _sha256(file) for file in files}


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
            return f"line {number}: {_short(left)}, then {_short(right)}"
    return "line ends"


def _first_row(expected: Path, found: Path) -> str:
    import pyarrow.parquet as pq

    before, after = pq.read_table(expected).to_pylist(), pq.read_table(found).to_pylist()
    left: dict[str, object]
    right: dict[str, object]
    for number, (left, right) in enumerate(zip_longest(before, after, fillvalue={})):
        for column in {**left, **right}:
            if left.get(column) != right.get(column):
                return f"row {number}, column {column!r}: {_short(left.get(column))}, then {_short(right.get(column))}"
    return "in its metadata"


def _first_tensor(expected: Path, found: Path) -> str:
    """The first tensor that differs, in the order of the file, and how many others do."""
    from safetensors import safe_open

    with safe_open(expected, framework="pt") as before, safe_open(found, framework="pt") as after:
        names = [*before.keys(), *(name for name in after.keys() if name not in before.keys())]  # noqa: SIM118 - not a mapping
        gaps = [(name, _gap(name, before, after)) for name in names]
    different = [(name, gap) for name, gap in gaps if gap]
    if not different:
        return "in its metadata"
    name, gap = different[0]
    others = f"; {len(different)} of {len(names)} tensors differ" if len(different) > 1 else ""
    return f"tensor {name!r} {gap}{others}"


def _gap(name: str, before: Any, after: Any) -> str:
    if name not in before.keys() or name not in after.keys():  # noqa: SIM118 - not a mapping
        return "is there only in one of them"
    left, right = before.get_tensor(name), after.get_tensor(name)
    if left.shape != right.shape or left.dtype != right.dtype:
        return f"is {left.dtype} {tuple(left.shape)}, then {right.dtype} {tuple(right.shape)}"
    bits_left, bits_right = _ordered(left), _ordered(right)
    if bool((bits_left == bits_right).all()):
        return ""
    count = int((bits_left != bits_right).sum())
    absolute = float((left.double() - right.double()).abs().max())
    steps = int((bits_left - bits_right).abs().max())
    return f"differs in {count:,} of {left.numel():,} values, by up to {absolute:.3g} ({steps:,} ulp)"


def _ordered(tensor: torch.Tensor) -> torch.Tensor:
    """The values as integers (int64) whose differences count units in the last place."""
    import torch

    if not tensor.dtype.is_floating_point:
        return tensor.to(torch.int64)
    widths = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits = tensor.contiguous().view(widths[tensor.element_size()]).to(torch.int64)
    lowest = -(1 << (8 * tensor.element_size() - 1))
    return torch.where(bits < 0, lowest - bits, bits)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
