"""Training checkpoints: folders with a manifest written last, so that only a complete one is resumed from."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from pathlib import Path

from workbench.commit import write_text

MANIFEST = "manifest.json"
_NAME = re.compile(r"checkpoint-(\d+)")


def seal(checkpoint: Path) -> None:
    """Write the manifest of a checkpoint folder: size and SHA-256 of each file."""
    files = sorted(file for file in checkpoint.rglob("*") if file.is_file() and file.name != MANIFEST)
    record = {file.relative_to(checkpoint).as_posix(): {"bytes": file.stat().st_size, "sha256": _sha256(file)} for file in files}
    write_text(checkpoint / MANIFEST, json.dumps(record, indent=1) + "\n")


def newest_complete(folder: Path) -> Path | None:
    """The checkpoint of the highest step whose files all agree with its manifest, or None.

    A newer one that is torn is named in a warning and passed over.
    """
    numbered = [(int(match.group(1)), path) for path in folder.glob("checkpoint-*") if (match := _NAME.fullmatch(path.name))]
    for _, path in sorted(numbered, reverse=True):
        problem = _problem(path)
        if problem is None:
            return path
        warnings.warn(f"checkpoint {path.name} is not used: {problem}", stacklevel=2)
    return None


def _problem(checkpoint: Path) -> str | None:
    manifest = checkpoint / MANIFEST
    if not manifest.is_file():
        return "it was not finished"
    try:
        record = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError:
        return f"{MANIFEST} is torn"
    for name, expected in record.items():
        file = checkpoint / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != expected["bytes"] or _sha256(file) != expected["sha256"]:
            return f"{name} is damaged"
    return None


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
