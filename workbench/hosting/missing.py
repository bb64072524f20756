"""Where to get what is not installed: the workspace's folders, the core's own, or what the last resolve recorded."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from workbench.hosting.naming import canonical, name_in
from workbench.lib.layout import LOCK_FILE

PLUGIN_FOLDER = Path("plugins")
"""Below a workspace: one distribution per folder, a plugin's named ``KIND-NAME``."""


def pip_line(root: Path, kind: str, name: str) -> str:
    """The command that installs a plugin of that kind and name; empty if unknown.

    Args:
        root: the workspace.
        kind: the plugin's kind.
        name: the plugin's name.
    """
    for folder in _folders(root):
        if folder.name == f"{kind}-{name}" or (folder.name.startswith(f"{kind}-") and _offers(folder, name)):
            return " ".join(["pip install", *_lacking(folder, root), f"-e {_shown(folder)}"])
    former = _former(root, kind, name)
    return f"pip install {former}" if former else ""


def pip_install(root: Path, lines: Sequence[str]) -> str:
    """The command that installs requirements, each from its folder where the workspace or the core's checkout has one.

    Args:
        root: the workspace.
        lines: the requirements, as of PEP 508.
    """
    folders = {canonical(str(_project(folder).get("name", ""))): folder for folder in _folders(root)}
    found = [folders.get(canonical(name_in(line))) for line in lines]
    return " ".join(["pip install", *(f"-e {_shown(at)}" if at else f"'{line}'" for line, at in zip(lines, found, strict=True))])


def _lacking(folder: Path, root: Path) -> list[str]:
    """Options that install the projects of other folders that a folder's project requires and that are not installed."""
    needed = {canonical(name_in(line)) for line in _project(folder).get("dependencies", ())}
    return [
        f"-e {_shown(other)}"
        for other in _folders(root)
        if canonical(str(_project(other).get("name", ""))) in needed and not _is_installed(str(_project(other)["name"]))
    ]


def _project(folder: Path) -> dict[str, Any]:
    """The table ``project`` of its pyproject.toml; empty if it cannot be read."""
    with suppress(OSError, ValueError):
        found = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
        return found if isinstance(found, dict) else {}
    return {}


def _is_installed(distribution: str) -> bool:
    with suppress(metadata.PackageNotFoundError):
        return bool(metadata.version(distribution))
    return False


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
