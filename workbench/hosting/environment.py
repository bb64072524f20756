"""Separate environments for plugins whose dependencies conflict with those of the core or of other plugins.

Such a plugin says ``environment = "own"``. Its distribution is installed beside the core without its dependencies, so that
it is listed, configured and hashed as any other. ``resolve`` pins what it needs, together with the little that a stage needs
of the core, in ``environments/NAME.lock``, which belongs into git. The stage makes a venv of those pins once, below
``.workbench/environments``, and goes on in it: the same process with another interpreter, so that DVC above it, its session
and its journal stay what they are.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import PluginError
from workbench.hosting import identity, installer, virtual
from workbench.hosting.contract import CORE_DISTRIBUTION
from workbench.hosting.host import Installed
from workbench.hosting.installer import read_pins
from workbench.hosting.naming import canonical
from workbench.lib import meaning
from workbench.lib.commit import remove, write_text
from workbench.lib.console import Console
from workbench.lib.layout import main_root

if TYPE_CHECKING:
    from packaging.requirements import Requirement

LOCK_FOLDER = Path("environments")
"""Folder of the pins, in the workspace."""
FOLDER = Path(".workbench/environments")
"""Folder of the environments made from them, in the main workspace."""
RECORDED = "fresh-"
"""Name prefix of an environment made from a run's record, reused whenever such a run is reproduced."""
RUNNER = ("packaging", "pluggy", "psutil", "pyarrow", "pydantic", "pyyaml", "rich", "typer")
"""The core's dependencies that running a stage needs; the version ranges are the core's own."""
UNLOCKED = "unlocked"
"""Placeholder for a version that ``resolve`` has yet to pin."""
_HEADER = "# Pins of an environment that stages run in, by `workbench resolve`; made anew when what it is for changes. Commit it."
_FOR = "# for: "
_NONE: Mapping[str, str] = {}


@dataclass(frozen=True)
class Environment:
    """What the plugins of one stage need to run in their own environment."""

    name: str
    """Of its lock, such as ``filter-entropy``: the plugins that need anything beyond the runner, joined by ``+``."""
    requirements: tuple[str, ...]
    """Sorted."""
    used: tuple[Installed, ...]
    beside: Mapping[str, str]
    """Distribution → package of those that bring the stage's kind and formats."""

    @property
    def lock_file(self) -> Path:
        """Relative to the workspace, where every command runs."""
        return LOCK_FOLDER / f"{self.name}.lock"

    def pins(self) -> dict[str, str] | None:
        """Distribution → version; None if these requirements are not pinned yet."""
        text = self.lock_file.read_text(encoding="utf-8") if self.lock_file.is_file() else ""
        made_for = [line.removeprefix(_FOR) for line in text.splitlines() if line.startswith(_FOR)]
        return read_pins(text) if made_for == list(self.requirements) else None


def of(used: Sequence[Installed], beside: Mapping[str, str] = _NONE) -> Environment | None:
    """The environment that a stage with these plugins runs in; None if none of them asks for its own.

    Args:
        used: the plugins of the stage.
        beside: distribution → package of those that bring its kind and formats.
    """
    if all(entry.plugin.environment == "shared" for entry in used):
        return None
    runner = set(_core_requirements(RUNNER))
    more = {entry: {*_own_requirements(entry, beside), *_core_requirements(identity.core_dependencies(entry))} for entry in used}
    more = {entry: lines - runner for entry, lines in more.items()}
    brought = {line for name, module in beside.items() for line in _unlinked(identity.requirements_of(name, module), beside)}
    named = [entry.key for entry, lines in more.items() if lines or entry.plugin.environment == "own"]
    name = "+".join(f"{kind}-{plugin}" for kind, plugin in named)
    return Environment(name, tuple(sorted(runner.union(brought, *more.values()))), tuple(used), beside)


def versions(used: Sequence[Installed], beside: Mapping[str, str] = _NONE) -> Callable[[str], str]:
    """A function that looks up the version of a distribution seen by these plugins when they run together."""
    environment = of(used, beside)
    if environment is None:
        return identity.installed_version
    pins = environment.pins()
    if pins is None:
        return lambda _: UNLOCKED
    return lambda name: pins.get(canonical(name), "absent")


def lock(used: Sequence[Installed], beside: Mapping[str, str] = _NONE) -> None:
    """Pin the environment of these plugins unless it is pinned.

    What still fits in an older lock stays. A new one takes the core's dependencies as they are in the main environment where
    it can, so that an artifact's bytes do not depend on where it was written.

    Raises:
        PluginError: the requirements conflict.
        ComputeError: pip is missing or finds no such release.
    """
    environment = of(used, beside)
    if environment is None or environment.pins() is not None:
        return
    file = environment.lock_file
    known = read_pins(file.read_text(encoding="utf-8")) if file.is_file() else _versions_here(environment)
    preferred = installer.fitting(known, environment.requirements)
    owners = ", ".join(f"{entry.distribution} {entry.version}" for entry in used)
    fix = f"widen the plugin's own requirements; every environment needs {', '.join(_core_requirements(RUNNER))}"
    with Console("resolve") as console:
        console.say(f"pinning the environment of {environment.name}")
        pins = installer.resolve(environment.requirements, preferred, owners, fix)
        lines = [_HEADER, *(_FOR + line for line in environment.requirements), *(f"{name}=={at}" for name, at in pins.items())]
        write_text(file, "\n".join(lines) + "\n")
        console.say(f"{len(pins)} pins written to {file}; commit it")


def enter(root: Path, used: Sequence[Installed], beside: Mapping[str, str], stage: str) -> None:
    """Continue in the environment of these plugins: returns at once if none is needed or this process is already in it.

    Otherwise it makes the environment if need be and replaces this process's program, so that it does not return.

    Raises:
        PluginError: the environment is not pinned, or its pins cannot be installed.
        ComputeError: pip is missing.
    """
    environment = of(used, beside)
    if environment is None:
        return
    pins = environment.pins()
    if pins is None:
        raise PluginError("its environment is not pinned", str(environment.lock_file), "run `dvc repro`, which resolves first")
    folder = main_root(root) / FOLDER / _key(pins)
    if is_inside(folder):
        return
    file = environment.lock_file
    with Console(stage) as console:
        error = virtual.ensure(folder, file, f"{environment.name}, of {file}", console)
    if error:
        fix = f"see that the package index can be reached; if it has a pin no longer, delete {file} and run `dvc repro`"
        raise PluginError(f"its environment cannot be made: {error}", str(file), fix)
    python = virtual.python_of(folder)
    search = os.pathsep.join([str(python.parent), os.environ.get("PATH", os.defpath)])
    there = {"PATH": search, "PYTHONPATH": str(_offer(folder, environment)), "PYTHONNOUSERSITE": "1", "VIRTUAL_ENV": str(folder)}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONHOME"}
    os.execve(python, [str(python), "-m", "workbench", *sys.argv[1:]], {**kept, **there})  # noqa: S606 - this is the purpose


def unused(root: Path, main: Path) -> list[Path]:
    """Environments below ``main`` that no lock of the workspace ``root`` needs any more."""
    locks = [read_pins(file.read_text(encoding="utf-8")) for file in (root / LOCK_FOLDER).glob("*.lock")]
    keys = {_key(pins) for pins in locks}
    made = [folder for folder in (main / FOLDER).glob("*/") if not folder.name.startswith(RECORDED)]
    return sorted(folder for folder in made if folder.name not in keys)


def is_inside(folder: Path) -> bool:
    """Whether this process runs in an environment at or below ``folder``."""
    return Path(sys.prefix).is_relative_to(folder)


def _own_requirements(entry: Installed, beside: Mapping[str, str]) -> list[str]:
    return _unlinked(identity.requirements(entry), {*beside, *identity.libraries(entry)})


def _unlinked(lines: Sequence[str], linked: Iterable[str]) -> list[str]:
    """The requirements that pip has to install, since they are neither the core nor linked in."""
    there = {canonical(name) for name in (CORE_DISTRIBUTION, *linked)}
    return [str(line) for line in _holding(lines) if canonical(line.name) not in there]


def _core_requirements(names: Sequence[str]) -> list[str]:
    """The core's version ranges for some of its dependencies; what it imports without requiring, the plugin must require."""
    ranges = {canonical(line.name): str(line) for line in _holding(metadata.requires(CORE_DISTRIBUTION) or [])}
    return [ranges[canonical(name)] for name in names if canonical(name) in ranges]


def _holding(lines: Sequence[str]) -> list[Requirement]:
    """The requirements that apply to this interpreter, without extras."""
    from packaging.requirements import Requirement

    read = [Requirement(line) for line in lines]
    held = [line for line in read if line.marker is None or line.marker.evaluate({"extra": ""})]
    for line in held:
        line.marker = None
    return held


def _versions_here(environment: Environment) -> dict[str, str]:
    """The versions of the core's dependencies in the main environment."""
    core = {canonical(name) for entry in environment.used for name in (*RUNNER, *identity.core_dependencies(entry))}
    here = {name: identity.installed_version(name) for name in sorted(core)}
    return {name: version for name, version in here.items() if version != "absent"}


def _key(pins: Mapping[str, str]) -> str:
    facts = [*(f"{name}=={version}" for name, version in sorted(pins.items())), str(sys.implementation.cache_tag)]
    return hashlib.sha256("\n".join([*facts, sysconfig.get_platform()]).encode()).hexdigest()[:16]


def _offer(folder: Path, environment: Environment) -> Path:
    """A folder for the search path, with links to the plugins, their libraries and the core: the very code that was hashed."""
    modules = {CORE_DISTRIBUTION: meaning.CORE, **environment.beside}
    for entry in environment.used:
        modules |= {entry.distribution: entry.module, **identity.libraries(entry)}
    links: dict[str, str] = {}
    texts: dict[str, str] = {}
    for distribution, module in modules.items():
        source = identity.package(module)
        links[source.name] = str(source)
        found = metadata.distribution(distribution)
        folder_name = f"{canonical(distribution).replace('-', '_')}-{found.version}.dist-info"
        texts |= {f"{folder_name}/{name}": found.read_text(name) or "" for name in ("METADATA", "entry_points.txt")}
    digest = hashlib.sha256(json.dumps([links, texts], sort_keys=True).encode()).hexdigest()[:16]
    offered = folder / "offered" / digest
    if not offered.exists():
        offered.parent.mkdir(exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=offered.parent))
        for name, target in links.items():
            (scratch / name).symlink_to(target)
        for name, text in texts.items():
            write_text(scratch / name, text)
        try:
            scratch.rename(offered)
        except OSError:  # another stage created it first
            remove(scratch)
    return offered
