"""Atomic writes: files and folders are written aside, synced, and renamed into place."""

from __future__ import annotations

import glob
import os
import shutil
from pathlib import Path

from workbench.lib.processes import is_running


def write_text(path: Path, text: str) -> None:
    """Replace a file's content atomically; a link stays, and what it leads to is replaced. Permissions stay as they are."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_over(path)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with scratch.open("w", encoding="utf-8") as file:
        if path.exists():
            shutil.copymode(path, scratch)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    sync_folder(path.parent)


def move_into_place(scratch: Path, path: Path) -> None:
    """Sync a finished file or folder to disk and rename it to ``path``, in place of what was there.

    After a kill there is the old content, nothing, or the new, never a part. To that end the old content is first renamed away,
    since a folder is not removed in one step.
    """
    for inside in sorted(scratch.rglob("*"), reverse=True) if scratch.is_dir() else []:
        if inside.is_file() or inside.is_dir():
            _sync(inside)
    _sync(scratch)
    path.parent.mkdir(parents=True, exist_ok=True)
    old = scratch.with_name(f"{scratch.name}.old")
    remove(old)
    if path.exists() or path.is_symlink():
        path.replace(old)
    scratch.replace(path)
    sync_folder(path.parent)
    remove(old)


def remove(path: Path) -> None:
    """Remove a file, link or folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable."""
    _sync(folder)


def _remove_left_over(path: Path) -> None:
    """Remove scratch files left by processes that were killed while writing this file."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        pid = left.name.rpartition(".")[2]
        if pid.isdecimal() and not is_running(int(pid)):
            left.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
