"""Where to get a plugin that is not installed: the workspace's folders, the core's own, or what the last resolve recorded."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from workbench.lib.layout import LOCK_FILE

PLUGIN_FOLDER = Path("plugins")
"""Below a workspace: one distribution per folder, named ``KIND-NAME``."""


def pip_line(root: Path, kind: str, name: str) -> str:
    """The command that installs a plugin of that kind and name; empty if unknown.

    Args:
        root: the workspace.
        kind: the plugin's kind.
        name: the plugin's name.
    """
    for folder in _folders(root):
        if folder.name == f"{kind}-{name}" or (folder.name.startswith(f"{kind}-") and _offers(folder, name)):
            return f"pip install -e {_shown(folder)}"
    former = _former(root, kind, name)
    return f"pip install {former}" if former else ""


def _folders(root: Path) -> Iterator[Path]:
    checkout = Path(__file__).resolve().parents[2]
    for base in dict.fromkeys([root.resolve(), checkout]):
        files = (base / PLUGIN_FOLDER).glob("*/pyproject.toml")
        yield from sorted((file.parent for file in files), key=lambda folder: (len(folder.name), folder.name))


def _offers(folder: Path, name: str) -> bool:
    """Whether a class in the folder's packages sets that name; its code is read, not imported."""
    line = re.compile(rf"^ +name(: [^=\n]+)? = [\"']{re.escape(name)}[\"']$", re.MULTILINE)
    return any(line.search(file.read_text(encoding="utf-8", errors="replace")) for file in folder.glob("[!.]*/*.py"))


def _former(root: Path, kind: str, name: str) -> str:
    """The distribution and version that offered it when plugins-lock.json was last written."""
    try:
        known = json.loads((root / LOCK_FILE).read_text(encoding="utf-8"))["installed"][f"{kind} {name}"]
        return f"{known['distribution']}=={known['version']}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _shown(folder: Path) -> str:
    """Relative to the current directory if it lies below it."""
    try:
        return str(folder.relative_to(Path(os.curdir).resolve()))
    except ValueError:
        return str(folder)
