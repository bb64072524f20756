"""The layout of a workspace: the files that people edit, and the folder ``.workbench`` of files that can be recreated."""

from __future__ import annotations

import os
from pathlib import Path

LOCK_FILE = Path("plugins-lock.json")
"""Everything that decides each stage's result, written by ``workbench resolve`` and compared by DVC."""
STATE_FOLDER = Path(".workbench")
JOURNAL_FOLDER = STATE_FOLDER / "journal"
"""One folder per session."""
FILES_FOLDER = "files"
"""Folder, below a session's, of what it began with: a temporary workspace may be gone before anyone looks."""
PIPELINE_COPY = Path("dvc.yaml.txt")
"""The dvc.yaml in there: DVC takes every file of the name dvc.yaml below a workspace for a pipeline of its own."""


def main_root(directory: Path) -> Path:
    """The main workspace: ``DVC_ROOT`` if DVC sets it (``dvc exp run --temp`` runs elsewhere), else ``directory``."""
    return Path(os.environ.get("DVC_ROOT") or directory).resolve()


def find_project(directory: Path) -> Path | None:
    """The nearest folder, from ``directory`` upwards, with a pipeline or the journals of one; None if there is none."""
    for folder in [directory.resolve(), *directory.resolve().parents]:
        if (folder / "dvc.yaml").is_file() or (folder / JOURNAL_FOLDER).is_dir():
            return folder
    return None
