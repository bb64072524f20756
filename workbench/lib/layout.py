"""Where a workspace keeps things: the files that people edit, and the folder ``.workbench`` of what can be made again."""

from __future__ import annotations

import os
from pathlib import Path

LOCK_FILE = Path("plugins-lock.json")
"""All that decides each stage's result, written by ``workbench resolve`` and compared by DVC."""
STATE_FOLDER = Path(".workbench")
JOURNAL_FOLDER = STATE_FOLDER / "journal"
"""One folder a session."""
FILES_FOLDER = "files"
"""Folder, below a session's, of what it began with: a temporary workspace may be gone before anyone looks."""


def main_root(directory: Path) -> Path:
    """The main workspace: ``DVC_ROOT`` where DVC names it (``dvc exp run --temp`` runs elsewhere), else ``directory``."""
    return Path(os.environ.get("DVC_ROOT") or directory).resolve()
