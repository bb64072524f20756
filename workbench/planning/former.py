"""Earlier contents of plugins-lock.json, which say what code a result was made with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from workbench.lib.layout import FILES_FOLDER, JOURNAL_FOLDER, LOCK_FILE, main_root

SESSIONS = 50
"""How many of the newest sessions are searched for the code that they ran with."""


def former_locks(root: Path) -> Iterator[dict[str, Any]]:
    """Those that sessions ran with, oldest first, and the file's own.

    The file alone is not enough: a ``dvc repro`` that fails, or runs one stage, rewrites it, while other results remain that
    an earlier content describes.
    """
    kept = [file for file in (main_root(root) / JOURNAL_FOLDER).glob(f"*/{FILES_FOLDER}/{LOCK_FILE}") if file.is_file()]
    newest = sorted(kept, key=lambda file: file.stat().st_mtime)[-SESSIONS:]
    for file in (*newest, root / LOCK_FILE):
        with suppress(FileNotFoundError, ValueError):
            yield json.loads(file.read_text(encoding="utf-8"))
