"""Content hashes of artifacts: DVC's where dvc.lock knows them, computed the same way where it does not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

DVC_LOCK = Path("dvc.lock")


def recorded(root: Path) -> dict[str, str]:
    """Path → DVC hash of every output in dvc.lock."""
    return {out["path"]: out["md5"] for stage in locked_stages(root).values() for out in stage.get("outs", ()) if "md5" in out}


def locked_stages(root: Path) -> dict[str, dict[str, Any]]:
    """The stages of dvc.lock; empty where there is no such file yet."""
    file = root / DVC_LOCK
    if not file.is_file():
        return {}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content = yaml.load(file.read_text(encoding="utf-8"), Loader=loader) or {}  # noqa: S506 - a safe loader in C
    stages: dict[str, dict[str, Any]] = content.get("stages", {})
    return stages


def of(path: Path) -> str:
    """DVC's hash of a file (MD5), or of a folder (MD5 of its sorted listing, with suffix ``.dir``)."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
    listing = json.dumps([{"md5": of(file), "relpath": name} for name, file in files], sort_keys=True)
    return hashlib.md5(listing.encode()).hexdigest() + ".dir"


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
