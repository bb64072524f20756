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
    if folder := _folder(root, kind, name):
        return " ".join(["pip install", *_lacking(folder, root), f"-e {_shown(folder)}"])
    former = _former(root, kind, name)
    return f"pip install {former}" if former else ""


def distribution(root: Path, kind: str, name: str) -> str:
    """The distribution that offers a plugin, by the folders and the last resolve; empty if unknown."""
    if folder := _folder(root, kind, name):
        return str(_project(folder).get("name", ""))
    return _former(root, kind, name).partition("==")[0]


def former_of(root: Path, section: str) -> list[str]:
    """The distributions, with versions where known, that brought a section of params.yaml when plugins-lock.json was written."""
    try:
        lock = json.loads((root / LOCK_FILE).read_text(encoding="utf-8"))
        addresses = {address: names for address, names in lock.get("beside", {}).items() if address.split(".")[0] == section}
        found = {name: name for names in addresses.values() for name in names}
        kinds = {record["kind"] for record in _records(lock["stages"].get(section, {}))}
        for plugin, entry in lock["installed"].items():
            if plugin.split()[0] in kinds:
                found[entry["distribution"]] = f"{entry['distribution']}=={entry['version']}"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    return [text for name, text in sorted(found.items()) if not _is_installed(name)]


def _records(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The records of a section of plugins-lock.json, which holds one, or one for each key."""
    yield from [content] if "kind" in content else content.values()


def _folder(root: Path, kind: str, name: str) -> Path | None:
    for folder in _folders(root):
        if folder.name == f"{kind}-{name}" or (folder.name.startswith(f"{kind}-") and _offers(folder, name)):
            return folder
    return None


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
