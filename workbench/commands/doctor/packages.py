"""Checks of what is installed: versions, what ``.pth`` files do at every start, and whose code would run."""

from __future__ import annotations

import json
import platform
import site
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from workbench.commands.doctor.check import Check
from workbench.hosting.contract import CORE_DISTRIBUTION
from workbench.hosting.installer import read_pins
from workbench.hosting.naming import canonical

if TYPE_CHECKING:
    from packaging.requirements import Requirement

CONSTRAINTS_FILE = Path("constraints.txt")
_SHOWN = 4
_HARMLESS = frozenset({"distutils-precedence.pth"})
"""A file of setuptools, which decides which distutils is imported."""
_GROUP = "workbench"


def python() -> Iterator[Check]:
    """Whether the interpreter is new enough and belongs to a virtual or conda environment rather than the system."""
    from packaging.specifiers import SpecifierSet

    needed = metadata.metadata(CORE_DISTRIBUTION)["Requires-Python"] or ""
    version = platform.python_version()
    if not SpecifierSet(needed).contains(version, prereleases=True):
        yield Check("python", "fail", f"Python {version} does not meet {needed}", "`rm -r .venv`, then `make setup PYTHON=…`")
    elif sys.prefix == sys.base_prefix and not Path(sys.prefix, "conda-meta").is_dir():
        yield Check("python", "warn", f"Python {version} of the system, not of a virtual environment", "`make setup` makes one")
    else:
        yield Check("python", "ok", f"Python {version} in {sys.prefix}")


def pins(root: Path) -> Iterator[Check]:
    """Whether the versions are those of constraints.txt, with which the results were made."""
    file = root / CONSTRAINTS_FILE
    if not file.is_file():
        yield Check("packages", "ok", f"there is no {CONSTRAINTS_FILE} to compare with")
        return
    pinned = read_pins(file.read_text(encoding="utf-8"))
    here = {name: _version(name) for name in pinned}
    moved = [f"{name} {here[name]} (not {pin})" for name, pin in pinned.items() if here[name] not in ("", pin.partition("+")[0])]
    present = sum(1 for version in here.values() if version)
    if moved:
        what = f"{len(moved)} of {present} packages have another version than {CONSTRAINTS_FILE}: {_some(moved)}"
        yield Check("packages", "warn", what, f"`pip install -c {CONSTRAINTS_FILE} …`, or `touch pyproject.toml; make setup`")
    else:
        yield Check("packages", "ok", f"the {present} that are installed of {CONSTRAINTS_FILE} have its versions")


def requirements(root: Path) -> Iterator[Check]:
    """Whether the requirements of the core and of this environment's plugins are installed."""
    from workbench.hosting import identity, missing
    from workbench.hosting.host import registry

    shared = {entry.distribution: entry for entry in registry(root).installed if entry.plugin.environment == "shared"}
    lists = {CORE_DISTRIBUTION: tuple(metadata.requires(CORE_DISTRIBUTION) or ())}
    lists |= {name: identity.requirements(entry) for name, entry in sorted(shared.items())}
    broken = {}
    for owner, lines in lists.items():
        for line in _holding(lines):
            version = _version(line.name)
            if not version or not line.specifier.contains(version, prereleases=True):
                broken[str(line)] = f"{owner} needs {line}, and there is {version or 'none'}"
    if broken:
        yield Check("requirements", "fail", _some([*broken.values()]), missing.pip_install(root, [*broken]))
    else:
        yield Check("requirements", "ok", f"the core and {len(shared)} distributions of plugins have what they need")


def path_files(root: Path) -> Iterator[Check]:
    """Whether ``.pth`` files run code at every start, or add another workspace's code to the search path."""
    strange = []
    for file in _path_files():
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        if file.name not in _HARMLESS and any(line.startswith(("import ", "import\t")) for line in lines):
            strange.append(file)
            yield Check(
                "path files", "warn", f"{file} runs code whenever Python starts", "look at it; remove it if it is not yours"
            )
        for line in lines:
            if other := _foreign(Path(line.strip()), root):
                strange.append(file)
                yield Check("path files", "warn", f"{file.name} brings {other} from outside this workspace", "`make setup` here")
    if not strange:
        yield Check("path files", "ok", "none runs code or brings another workspace's")


def installs(root: Path) -> Iterator[Check]:
    """Whether the code that runs, and that editable installs point to, is this workspace's."""
    running = Path(__file__).resolve().parents[3]
    own = (root / "workbench" / "__init__.py").is_file()
    if own and running != root.resolve():
        what = f"this command is {running}'s, not this workspace's"
        yield Check("installs", "warn", what, "`python -m workbench …` takes the workspace's own, and so do its stages")
    elsewhere = [name for name, place in _editable() if own and not place.is_relative_to(root.resolve())]
    if elsewhere:
        what = f"{len(elsewhere)} editable installs point to another workspace: {_some(elsewhere)}"
        fix = "`make setup` here; stages take this workspace's plugins/* all the same"
        yield Check("installs", "warn", what, fix)
    if not elsewhere and (running == root.resolve() or not own):
        yield Check("installs", "ok", f"the code that runs is that of {running}")


def plugins(root: Path) -> Iterator[Check]:
    """Whether every installed plugin can be loaded."""
    from workbench.hosting.host import registry

    found = registry(root)
    for broken in found.broken:
        what = f"{broken.distribution} {broken.version} is broken: {broken.error}"
        yield Check("plugins", "warn", what, broken.fix or "`workbench plugins --errors` says more")
    yield Check("plugins", "ok", f"{len(found.installed)} can be used")


def _version(name: str) -> str:
    """The version without its local label; empty if not installed."""
    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return ""


def _holding(lines: Iterable[str]) -> Iterator[Requirement]:
    """The requirements that apply to this interpreter, without extras."""
    from packaging.requirements import Requirement

    for line in map(Requirement, lines):
        if line.marker is None or line.marker.evaluate({"extra": ""}):
            yield line


def _path_files() -> Iterator[Path]:
    folders = [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
    for folder in dict.fromkeys(map(Path, folders)):
        yield from sorted(folder.glob("*.pth"))


def _foreign(folder: Path, root: Path) -> str:
    """The package of this workspace that a folder outside holds too; empty if there is none."""
    if not folder.is_absolute() or folder.is_relative_to(root.resolve()):
        return ""
    own = [root, *(root / "plugins").glob("*/")]
    names = {found.parent.name for place in own for found in place.glob("*/__init__.py")} - {"tests"}
    return next((name for name in sorted(names) if (folder / name / "__init__.py").is_file()), "")


def _editable() -> Iterator[tuple[str, Path]]:
    """The core, its libraries and the distributions of plugins that are installed in editable mode, with their folders."""
    for found in metadata.distributions():
        name = found.metadata["Name"] or ""
        offers = any(point.group == _GROUP for point in found.entry_points)
        if not (offers or canonical(name).startswith(canonical(CORE_DISTRIBUTION))):
            continue
        address = json.loads(found.read_text("direct_url.json") or "{}")
        if address.get("dir_info", {}).get("editable"):
            yield name, Path(unquote(urlsplit(address["url"]).path)).resolve()


def _some(items: list[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
