"""The identity of a plugin: a hash over the meaning of its code and the versions of its direct dependencies.

Meaning, because a comment, a docstring, another layout or another type for checkers must rerun nothing. The core's part is hashed
the same way: the modules that the plugin and its kind import, except those that decide no output.
:mod:`workbench.lib.meaning` says what of a file counts.
"""

from __future__ import annotations

import hashlib
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from workbench.errors import PluginError
from workbench.hosting import missing
from workbench.hosting.contract import CORE_DISTRIBUTION
from workbench.hosting.host import Installed
from workbench.hosting.naming import canonical, name_in
from workbench.lib import meaning
from workbench.lib.meaning import CORE, FAMILY
from workbench.plugin import Plugin

DISTRIBUTIONS = {"yaml": "PyYAML"}
"""Distributions whose name differs from the core's import; importlib.metadata would have to read every installed file list."""


def identity(entry: Installed, version: Callable[[str], str] | None = None) -> str:
    """32 hexadecimal digits: the plugin's package and those it shares code with, the core modules, the dependencies' versions.

    ``version`` looks versions up where the plugin runs, if that is not here.
    """
    parts = [
        code_digest(entry.module),
        *(code_digest(package) for package in _shared_packages(entry)),
        core_digest(entry),
        *(f"{name}=={number}" for name, number in dependencies(entry, version).items()),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def dependencies(entry: Installed, version: Callable[[str], str] | None = None) -> dict[str, str]:
    """Versions of the direct dependencies of the plugin and its libraries, and of the core's third-party imports.

    They are without local labels. The core and the libraries themselves count by their code.
    """
    look_up = version or installed_version
    names = [*core_dependencies(entry), *required(entry)]
    spellings = {canonical(name): name for name in reversed(names)}
    for name in (CORE_DISTRIBUTION, *libraries(entry)):
        spellings.pop(canonical(name), None)
    return {name: look_up(name) for name in sorted(spellings.values())}


@cache
def requirements(entry: Installed) -> tuple[str, ...]:
    """What the plugin's distribution and its libraries require, without extras, as lines of PEP 508, each once.

    Raises:
        PluginError: a project's pyproject.toml cannot be read.
    """
    owners = {entry.distribution: entry.module, **libraries(entry)}
    return tuple(dict.fromkeys(line for name, module in owners.items() for line in requirements_of(name, module)))


@cache
def libraries(entry: Installed) -> Mapping[str, str]:
    """Distribution → package of those that a plugin requires and shares code with, directly or through one another.

    A package belongs to the distribution whose name ends with its own: ``workbench_trl`` to ``pionero-workbench-trl``.
    """
    found: dict[str, str] = {}
    shared = _shared_packages(entry)
    pending = [(entry.distribution, entry.module)] if shared else []
    while pending:
        names = [name_in(line) for line in requirements_of(*pending.pop())]
        new = {name: module for name in names for module in shared if canonical(name).endswith(canonical(module))}
        pending += [(name, module) for name, module in new.items() if name not in found]
        found |= new
    return found


def required(entry: Installed) -> list[str]:
    """The names of what :func:`requirements` lists."""
    return [name_in(line) for line in requirements(entry)]


def require_installed(entry: Installed, root: Path) -> None:
    """Refuse a plugin of the workspace ``root`` if a package that it requires on every interpreter is missing.

    Raises:
        PluginError: names what is missing, and what installs it.
    """
    lines = [line for line in requirements(entry) if ";" not in line and canonical(name_in(line)) != CORE_DISTRIBUTION]
    if lacking := [line for line in lines if installed_version(name_in(line)) == "absent"]:
        what = f"{entry.plugin.kind} {entry.plugin.name!r} requires {', '.join(lacking)}, which is not installed"
        raise PluginError(what, entry.distribution, missing.pip_install(root, lacking))


@cache
def core_dependencies(entry: Installed) -> tuple[str, ...]:
    """The distributions imported by the core modules of a plugin and by the packages that it shares code with."""
    files = [_module_file(module) for module in _core_modules(entry)]
    shared = _shared_packages(entry)
    files += [file for package in shared for file in _code(package)]
    return tuple(_distribution_of(module) for module in _third_party(files) if module not in (entry.module, *shared))


def _distribution_of(module: str) -> str:
    """The distribution of a third-party module: nearly always that of its name."""
    name = DISTRIBUTIONS.get(module, module)
    if installed_version(name) != "absent":
        return name
    return next(iter(metadata.packages_distributions().get(module, ())), name)  # reads every installed file list


def package(module: str) -> Path:
    """Location of a module: the folder of a package, or the file of a single module."""
    file = _module_file(module)
    return file.parent if file.name == "__init__.py" else file


@cache
def installed_version(distribution: str) -> str:
    """The version that is installed here, without its local label; ``absent`` if there is none."""
    try:
        return metadata.version(distribution).partition("+")[0]
    except metadata.PackageNotFoundError:
        return "absent"


@cache
def code_digest(module: str) -> str:
    """Hash of a package's own files; see :func:`workbench.lib.meaning.digest_of`."""
    return meaning.digest_of(package(module))


@cache
def core_digest(entry: Installed) -> str:
    """Hash of the core modules that the plugin's code and its kind import, directly or through one another."""
    digest = hashlib.sha256()
    for module in _core_modules(entry):
        digest.update(module.encode() + b"\0" + meaning.read(_module_file(module)).digest.encode() + b"\n")
    return digest.hexdigest()


def requirements_of(distribution: str, module: str) -> tuple[str, ...]:
    """What one distribution requires, without extras, as lines of PEP 508.

    The project that contains the code says it, if there is one: what an editable install noted may be older.

    Raises:
        PluginError: the project's pyproject.toml cannot be read.
    """
    folder = package(module).parent
    for file in (folder / "pyproject.toml", folder.parent / "pyproject.toml"):
        if not file.is_file():
            continue
        try:
            project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
        except ValueError as error:
            raise PluginError(f"no TOML: {error}", str(file), "mend the file") from error
        if canonical(project.get("name", "")) == canonical(distribution) and "dependencies" in project:
            return tuple(project["dependencies"])
    return tuple(line for line in _noted(distribution) if "extra ==" not in line)


def _noted(distribution: str) -> list[str]:
    try:
        return metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:  # a library that is only on the search path
        return []


@cache
def _core_modules(entry: Installed) -> tuple[str, ...]:
    kinds = {base.__module__ for base in entry.plugin.__mro__ if base.__module__.startswith(f"{CORE}.")}
    own = {
        name for package in [entry.module, *_shared_packages(entry)] for file in _code(package) for name in _core_imports(file)
    }
    pending, found = sorted(kinds | own), set[str]()
    while pending:
        module = pending.pop()
        if module not in found:
            found.add(module)
            pending += _core_imports(_module_file(module))
    return tuple(sorted(found))


@cache
def _shared_packages(entry: Installed) -> tuple[str, ...]:
    """The packages of other distributions whose code is the plugin's too.

    Those are the packages of its base classes, and what is named ``workbench_…`` among what it and they import.
    """
    own = entry.module.split(".")[0]
    bases = {base.__module__.split(".")[0] for base in entry.plugin.__mro__ if issubclass(base, Plugin)} - {CORE, own}
    return tuple(sorted(bases | meaning.family_of([own, *bases])))


def _code(module: str) -> list[Path]:
    return [file for _, file in meaning.files_of(package(module)) if file.suffix == ".py"]


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
    """Source of a core module; None if the name is not a module. Nothing is imported, whereas ``find_spec`` imports parents."""
    path = Path(__file__).parents[1].joinpath(*name.split(".")[1:])
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@cache
def _module_file(module: str) -> Path:
    origin = _core_file(module) if module.startswith(f"{CORE}.") else getattr(find_spec(module), "origin", None)
    if origin is None:
        raise PluginError(f"module {module} lacks a source file", module, "reinstall it")
    return Path(origin)
