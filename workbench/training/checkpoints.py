"""Training checkpoints: folders whose manifest is written last, so that training resumes only from complete ones."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.lib.commit import remove, write_text

MANIFEST = "manifest.json"
_NAME = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True)
class Found:
    """What training can resume from in a folder of checkpoints."""

    newest: Path | None
    """The complete checkpoint with the highest step."""
    passed_over: tuple[str, ...]
    """Newer ones that are incomplete, each as ``checkpoint-20 is not used: optimizer.pt is missing``."""


def seal(checkpoint: Path) -> None:
    """Write the manifest of a checkpoint folder: size and SHA-256 of each file."""
    files = sorted(file for file in checkpoint.rglob("*") if file.is_file() and file.name != MANIFEST)
    record = {file.relative_to(checkpoint).as_posix(): {"bytes": file.stat().st_size, "sha256": _sha256(file)} for file in files}
    write_text(checkpoint / MANIFEST, json.dumps(record, indent=1) + "\n")


def newest_complete(folder: Path, needed: Sequence[str] = ()) -> Path | None:
    """The checkpoint with the highest step whose files all match its manifest, or None.

    A newer, damaged one is skipped with a warning that names the file at fault.

    Args:
        folder: where the checkpoints are.
        needed: patterns, such as ``optimizer*.pt``, each of which a file of a complete checkpoint matches.
    """
    found = look(folder, needed)
    instead = f"training goes on from {found.newest.name}" if found.newest else "training starts over"
    for problem in found.passed_over:
        warnings.warn(f"{problem}; {instead} (in {folder})", stacklevel=2)
    return found.newest


def look(folder: Path, needed: Sequence[str] = ()) -> Found:
    """Like :func:`newest_complete`, without the warning."""
    passed_over: list[str] = []
    for checkpoint in _newest_first(folder):
        problem = _problem(checkpoint, needed)
        if problem is None:
            return Found(checkpoint, tuple(passed_over))
        passed_over.append(f"{checkpoint.name} is not used: {problem}")
    return Found(None, tuple(passed_over))


def keep_newest(folder: Path, number: int) -> None:
    """Remove all checkpoints except those with the highest steps, regardless of timestamps."""
    for checkpoint in _newest_first(folder)[number:]:
        (checkpoint / MANIFEST).unlink(missing_ok=True)  # first, so that a half-removed checkpoint does not look damaged
        remove(checkpoint)


def drop_newer(folder: Path, newest: Path | None) -> None:
    """Remove the checkpoints with higher steps than ``newest``, or all of them: training is about to rewrite them."""
    order = _newest_first(folder)
    for checkpoint in order[: order.index(newest)] if newest else order:
        remove(checkpoint)


def _newest_first(folder: Path) -> list[Path]:
    numbered = [(int(match.group(1)), path) for path in folder.glob("checkpoint-*") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(numbered, reverse=True)]


def _problem(checkpoint: Path, needed: Sequence[str]) -> str | None:
    manifest = checkpoint / MANIFEST
    if not manifest.is_file():
        return "it was not finished"
    try:
        record = json.loads(manifest.read_text(encoding="utf-8"))
        expected = {str(name): (int(entry["bytes"]), str(entry["sha256"])) for name, entry in record.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is damaged"
    for name, (size, sha256) in expected.items():
        file = checkpoint / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size:,} bytes, not {size:,}"
        if _sha256(file) != sha256:
            return f"{name} is damaged"
    for pattern in needed:
        if not any(Path(name).match(pattern) for name in expected):
            return f"it lacks {pattern}"
    return None


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
