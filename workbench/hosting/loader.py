"""Loads what a distribution offers: metadata, entry point, module and hook, each with an error that says how to fix it."""

from __future__ import annotations

import contextlib
import importlib.abc
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from types import ModuleType
from typing import Any

import pluggy

from workbench import hookspecs
from workbench.errors import PluginError
from workbench.hosting import contract

GROUP = "workbench"
HOOKS = ("workbench_plugins", "workbench_kinds", "workbench_formats")
FORBIDDEN = frozenset({"torch", "transformers", "mlflow"})
"""Packages that a plugin must not import before it runs: once torch is loaded, a stage cannot set its
threads, and so refuses to start."""


def read_metadata(distribution: metadata.Distribution) -> tuple[str, str, list[str]]:
    """Name, version and ``Requires-Dist`` lines.

    Raises:
        PluginError: an interrupted installation left metadata without a name.
    """
    try:
        read = distribution.metadata
        name, version = read["Name"], read["Version"]
    except (TypeError, KeyError, ValueError, OSError):  # OSError: raised by the backport, which takes over when it is imported
        name = version = ""
    if not (name and version):
        fix = "remove what an interrupted installation left there, and install the plugin again"
        raise PluginError("its metadata lacks a name or version", str(distribution.locate_file("")), fix)
    return name, version, read.get_all("Requires-Dist") or []


@dataclass(frozen=True)
class Offer:
    """What one distribution offers."""

    module: ModuleType
    seconds: float
    """What importing the module took."""
    kinds: Sequence[Any] = ()
    """Base classes of kinds, unchecked."""
    formats: Sequence[Any] = ()
    plugins: Sequence[Any] = ()
    """Plugin classes, unchecked."""


def load(distribution: metadata.Distribution, name: str) -> Offer:
    """Import the module of its entry point, and ask its hooks.

    Raises:
        PluginError: the distribution does not offer its plugins in the required way.
        BaseException: anything that importing a third-party module may raise.
    """
    point = _entry_point(distribution, name)
    started = time.perf_counter()
    # Text printed by a module would corrupt the output of `--json`.
    with _nothing_heavy(), contextlib.redirect_stdout(sys.stderr):
        module = import_module(point.module)
        seconds = time.perf_counter() - started
        answers = {hook: _list_of(hook, function) for hook, function in _hooks(module).items()}
    return Offer(module, seconds, **{hook.removeprefix(f"{GROUP}_"): answer for hook, answer in answers.items()})


def _list_of(hook: str, function: Callable[[], object]) -> list[Any]:
    found = function()
    if not isinstance(found, list):
        what = f"its hook `{hook}` returns {type(found).__name__}, not a list"
        raise PluginError(what, contract.place(function), f"return a list from `{hook}`")
    return found


def _entry_point(distribution: metadata.Distribution, name: str) -> metadata.EntryPoint:
    fix = f'in its pyproject.toml write {name} = "PACKAGE" under [project.entry-points.{GROUP}], and install it again'
    where = f"{name}, entry points"
    try:
        points = [point for point in distribution.entry_points if point.group == GROUP]
    except (TypeError, ValueError) as error:
        raise PluginError("its entry points cannot be read", where, fix) from error
    if len(points) != 1:
        raise PluginError(f"it has {len(points)} entry points of the group {GROUP!r}", where, fix)
    (point,) = points
    if point.name != name:
        raise PluginError(f"entry point {point.name!r} is not the distribution's name", where, fix)
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", point.value):
        raise PluginError(f"its entry point {point.value!r} names no module", where, fix)
    return point


def _hooks(module: ModuleType) -> dict[str, Callable[[], object]]:
    """The module's implementations of the hooks, by their names; there is at least one."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(module)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        marked = [name for name in vars(module) if manager.parse_hookimpl_opts(module, name)]
        problem = [line for line in str(error).splitlines() if line][-1]
        fix = f"the hooks are {', '.join(f'`{hook}`' for hook in HOOKS)}, without arguments"
        raise PluginError(problem, contract.place(getattr(module, marked[0])), fix) from error
    found = {hook: getattr(manager.hook, hook).get_hookimpls() for hook in HOOKS}
    if not any(found.values()):
        function = getattr(module, HOOKS[0], None)
        where = contract.place(function) if callable(function) else str(module.__file__ or module.__name__)
        raise PluginError("it implements no hook", where, f"mark the function `{HOOKS[0]}` with @hookimpl of workbench")
    return {hook: implementations[0].function for hook, implementations in found.items() if implementations}


@contextlib.contextmanager
def _nothing_heavy() -> Iterator[None]:
    barrier = _Barrier()
    sys.meta_path.insert(0, barrier)
    try:
        yield
    finally:
        sys.meta_path.remove(barrier)


class _Barrier(importlib.abc.MetaPathFinder):
    """Aborts the import of a plugin that imports a forbidden package, so that only that plugin breaks."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Find nothing, so that the next finder is asked."""
        if fullname in FORBIDDEN:  # not an ImportError, which the plugin might mistake for a package that is not installed
            what = f"its import imports {fullname}, which every command would then pay for"
            raise PluginError(what, "", f"import {fullname} inside the function that uses it")
