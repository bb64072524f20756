"""The identity of a plugin: a hash over the meaning of its code and the versions of its direct dependencies.

Meaning, because a comment, a docstring, another layout or another type for checkers must rerun nothing. The core's part is hashed
the same way: the modules that the plugin and its kind import, but for those that decide no output.
:mod:`workbench.hosting.meaning` says what of a file counts.
"""

from __future__ import annotations

import hashlib
import re
import sys
import tomllib
from collections.abc import Callable, Iterable
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from workbench.errors import PluginError
from workbench.hosting import meaning
from workbench.hosting.contract import CORE_DISTRIBUTION
from workbench.hosting.host import Installed
from workbench.hosting.meaning import CORE, FAMILY
from workbench.hosting.naming import canonical

DISTRIBUTIONS = {"yaml": "PyYAML"}
"""Distributions of the core's imports that have another name; asking importlib.metadata would read every installed file list."""
IRRELEVANT = {f"{CORE}.errors", f"{CORE}.estimate", f"{CORE}.model_cost", f"{CORE}.processes"}
"""Core modules that decide no output: what errors say, what a run will cost, whether a process runs."""
IGNORED = {"__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"}


def identity(entry: Installed, version: Callable[[str], str] | None = None) -> str:
    """32 hexadecimal digits: the plugin's package and those it shares code with, the core modules, the dependencies' versions.

    ``version`` looks versions up where the plugin runs, if that is not here.
    """
    parts = [
        code_digest(entry.module),
        *(code_digest(package) for package in _shared_packages(entry.module)),
        core_digest(entry),
        *(f"{name}=={number}" for name, number in dependencies(entry, version).items()),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def dependencies(entry: Installed, version: Callable[[str], str] | None = None) -> dict[str, str]:
    """Versions of the plugin's direct dependencies, and of the core's third-party imports, without local labels."""
    look_up = version or installed_version
    names = [*core_dependencies(entry), *required(entry)]
    spellings = {canonical(name): name for name in reversed(names)}
    spellings.pop(CORE_DISTRIBUTION, None)
    return {name: look_up(name) for name in sorted(spellings.values())}


@cache
def requirements(entry: Installed) -> tuple[str, ...]:
    """What the plugin's distribution requires, without its extras, as lines of PEP 508.

    The project that the code lies in says it, where there is one: an editable install noted it once, and may be older.

    Raises:
        PluginError: the project's pyproject.toml cannot be read.
    """
    folder = package(entry.module).parent
    for file in (folder / "pyproject.toml", folder.parent / "pyproject.toml"):
        if not file.is_file():
            continue
        try:
            project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
        except ValueError as error:
            raise PluginError(f"no TOML: {error}", str(file), "mend the file") from error
        if canonical(project.get("name", "")) == canonical(entry.distribution) and "dependencies" in project:
            return tuple(project["dependencies"])
    return tuple(line for line in metadata.requires(entry.distribution) or [] if "extra ==" not in line)


def required(entry: Installed) -> list[str]:
    """The names of what :func:`requirements` lists."""
    return [_name(line) for line in requirements(entry)]


def require_installed(entry: Installed) -> None:
    """Refuse a plugin that lacks a package which it requires whatever the interpreter.

    Raises:
        PluginError: names what is missing, and what installs it.
    """
    lines = [line for line in requirements(entry) if ";" not in line and canonical(_name(line)) != CORE_DISTRIBUTION]
    if missing := [line for line in lines if installed_version(_name(line)) == "absent"]:
        what = f"{entry.plugin.kind} {entry.plugin.name!r} requires {', '.join(missing)}, which is not installed"
        raise PluginError(what, entry.distribution, "pip install " + " ".join(f"'{line}'" for line in missing))


@cache
def core_dependencies(entry: Installed) -> tuple[str, ...]:
    """The distributions that the core modules of a plugin import, and the packages that it shares code with."""
    files = [_module_file(module) for module in _core_modules(entry)]
    files += [file for package in _shared_packages(entry.module) for file in _code(package)]
    return tuple(DISTRIBUTIONS.get(module, module) for module in _third_party(files))


def package(module: str) -> Path:
    """Where a module lies: the folder of a package, the file of a single module."""
    file = _module_file(module)
    return file.parent if file.name == "__init__.py" else file


@cache
def installed_version(distribution: str) -> str:
    """The version that is installed here, without its local label; ``absent`` when there is none."""
    try:
        return metadata.version(distribution).partition("+")[0]
    except metadata.PackageNotFoundError:
        return "absent"


@cache
def code_digest(module: str) -> str:
    """Hash of a package's own files: Python by its syntax tree, everything else by its bytes."""
    digest = hashlib.sha256()
    for name, file in _package_files(module):
        digest.update(name.encode() + b"\0" + meaning.read(file).digest.encode() + b"\n")
    return digest.hexdigest()


@cache
def core_digest(entry: Installed) -> str:
    """Hash of the core modules that the plugin's code and its kind import, directly or through one another."""
    digest = hashlib.sha256()
    for module in _core_modules(entry):
        digest.update(module.encode() + b"\0" + meaning.read(_module_file(module)).digest.encode() + b"\n")
    return digest.hexdigest()


def _name(requirement: str) -> str:
    return re.split(r"[ ;<>=!~\[(@]", requirement, maxsplit=1)[0]


@cache
def _core_modules(entry: Installed) -> tuple[str, ...]:
    kinds = {base.__module__ for base in entry.plugin.__mro__ if base.__module__.startswith(f"{CORE}.")}
    own = {name for package in _packages(entry.module) for file in _code(package) for name in _core_imports(file)}
    pending, found = sorted(kinds | own), set[str]()
    while pending:
        module = pending.pop()
        if module not in found:
            found.add(module)
            pending += _core_imports(_module_file(module))
    return tuple(sorted(found))


def _packages(module: str) -> list[str]:
    return [module, *_shared_packages(module)]


@cache
def _shared_packages(module: str) -> list[str]:
    """The packages named ``workbench_…`` of other distributions that a plugin's package imports, directly or not."""
    pending, found = [module], set[str]()
    while pending:
        imported = {name.split(".")[0] for file in _code(pending.pop()) for name in meaning.read(file).imports}
        new = {name for name in imported if name.startswith(FAMILY) and find_spec(name)} - found - {module}
        found |= new
        pending += sorted(new)
    return sorted(found)


def _code(module: str) -> list[Path]:
    return [file for _, file in _package_files(module) if file.suffix == ".py"]


def _third_party(files: Iterable[Path]) -> list[str]:
    imported = {name.split(".")[0] for file in files for name in meaning.read(file).imports}
    return sorted(name for name in imported - set(sys.stdlib_module_names) - {CORE} if not name.startswith(FAMILY))


def _core_imports(file: Path) -> list[str]:
    return [name for name in meaning.read(file).imports if name.startswith(f"{CORE}.") and _counts(name)]


def _counts(name: str) -> bool:
    file = None if meaning.is_private(name) else _core_file(name)
    return file is not None and meaning.read(file).counts


@cache
def _core_file(name: str) -> Path | None:
    """Source of a core module; None for a name that is no module. Nothing is imported, as ``find_spec`` would parents."""
    path = Path(__file__).parents[1].joinpath(*name.split(".")[1:])
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@cache
def _module_file(module: str) -> Path:
    origin = _core_file(module) if module.startswith(f"{CORE}.") else getattr(find_spec(module), "origin", None)
    if origin is None:
        raise PluginError(f"module {module} has no source file", module, "reinstall it")
    return Path(origin)


def _package_files(module: str) -> list[tuple[str, Path]]:
    file = _module_file(module)
    if file.name != "__init__.py":
        return [(file.name, file)]
    root = file.parent
    files = (path for path in root.rglob("*") if path.is_file() and not IGNORED & set(path.parts) and path.suffix != ".pyc")
    return sorted((path.relative_to(root).as_posix(), path) for path in files)
