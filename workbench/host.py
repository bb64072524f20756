"""The plugin host: finds installed plugins, keeps the errors of broken ones, and selects one by kind and name."""

from __future__ import annotations

import difflib
import sys
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from workbench import hookspecs
from workbench.errors import PluginError
from workbench.plugin import CONTRACT_VERSION, Plugin

GROUP = "workbench"
PLUGIN_FOLDER = Path("plugins")


@dataclass(frozen=True)
class Installed:
    """One plugin class with the distribution that brings it."""

    plugin: type[Plugin[Any]]
    distribution: str
    version: str
    module: str
    """Import name of the distribution's package."""

    @property
    def key(self) -> tuple[str, str]:
        """Kind and name."""
        return self.plugin.kind, self.plugin.name


@dataclass(frozen=True)
class Broken:
    """A distribution whose plugins could not be loaded."""

    distribution: str
    version: str
    error: str
    """One line."""
    traceback: str


@dataclass(frozen=True)
class Registry:
    """All that is installed, whole or broken."""

    installed: tuple[Installed, ...]
    broken: tuple[Broken, ...]

    def names(self, kind: str) -> list[str]:
        """The names of a kind's plugins."""
        return sorted({entry.plugin.name for entry in self.installed if entry.plugin.kind == kind})

    def select(self, kind: str, name: str, where: str = "") -> Installed:
        """The plugin of that kind and name.

        Raises:
            PluginError: no distribution, or more than one, offers it.
        """
        found = [entry for entry in self.installed if entry.key == (kind, name)]
        if len(found) == 1:
            return found[0]
        if found:
            owners = " and ".join(f"{entry.distribution} {entry.version}" for entry in found)
            fix = f"uninstall one of them, for example `pip uninstall {found[-1].distribution}`"
            raise PluginError(f"two distributions offer the {kind} {name!r}: {owners}", where, fix)
        raise PluginError(*self._unknown(kind, name, where))

    def _unknown(self, kind: str, name: str, where: str) -> tuple[str, str, str]:
        folder = PLUGIN_FOLDER / f"{kind}-{name}"
        for broken in self.broken:
            if broken.distribution.endswith(f"{kind}-{name}"):
                what = f"the {kind} {name!r} is installed and broken: {broken.error}"
                return what, where, f"mend or reinstall {broken.distribution}; `workbench plugins --errors` shows its traceback"
        choices = self.names(kind)
        what = f"no {kind} {name!r} is installed; there is {', '.join(choices) or 'none of that kind'}"
        if folder.is_dir():
            return what, where, f"pip install -e {folder}"
        close = difflib.get_close_matches(name, choices, 1)
        return what, where, f"did you mean {close[0]!r}?" if close else "install a distribution that offers it"


@cache
def registry(root: Path) -> Registry:
    """Load every installed plugin. A workspace's own ``plugins/*`` win over editable installs from another copy of it."""
    _prefer_workspace(root)
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    installed: list[Installed] = []
    broken: list[Broken] = []
    for distribution in _distributions():
        name, version = distribution.metadata["Name"], distribution.version
        try:
            installed += _load(distribution, manager)
        except Exception as error:  # noqa: BLE001 - a stranger's module may raise anything; it is kept and shown
            line = str(error).splitlines()[0] if str(error) else ""
            broken.append(Broken(name, version, f"{type(error).__name__}: {line}", traceback.format_exc()))
    return Registry(tuple(installed), tuple(broken))


def _distributions() -> list[metadata.Distribution]:
    named = {
        distribution.metadata["Name"]: distribution
        for distribution in reversed(list(metadata.distributions()))
        if any(point.group == GROUP for point in distribution.entry_points)
    }
    return [named[name] for name in sorted(named)]


def _load(distribution: metadata.Distribution, manager: pluggy.PluginManager) -> list[Installed]:
    name = distribution.metadata["Name"]
    found = []
    for point in distribution.entry_points:
        if point.group != GROUP:
            continue
        if point.name != name:
            raise PluginError(
                f"entry point {point.name!r} is not the distribution's name", f"{name}, pyproject.toml", f"name it {name!r}"
            )
        module = import_module(point.module)
        _register(manager, module, point.name)
        for plugin in module.workbench_plugins():
            _require_contract(plugin, name)
            found.append(Installed(plugin, name, distribution.version, point.module.split(".")[0]))
    return found


def _register(manager: pluggy.PluginManager, module: ModuleType, name: str) -> None:
    manager.register(module, name)
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        manager.unregister(module)
        raise PluginError(str(error), module.__file__ or name, "the hook is `workbench_plugins`") from error
    if not manager.get_hookcallers(module):
        manager.unregister(module)
        raise PluginError("it implements no hook", module.__file__ or name, "mark `workbench_plugins` with @hookimpl")


def _require_contract(plugin: type[Plugin[Any]], distribution: str) -> None:
    where = f"{distribution}, class {getattr(plugin, '__qualname__', plugin)}"
    if not (isinstance(plugin, type) and issubclass(plugin, Plugin)):
        raise PluginError("it is no plugin class", where, "subclass a kind, such as workbench.kinds.filter.Filter")
    for attribute in ("kind", "name", "Config"):
        if not hasattr(plugin, attribute):
            raise PluginError(f"it has no attribute {attribute!r}", where, f"set {attribute} on the class")
    if plugin.contract != CONTRACT_VERSION:
        raise PluginError(
            f"it speaks contract {plugin.contract}, and this workbench contract {CONTRACT_VERSION}",
            where,
            "upgrade the older of the two",
        )
    for field, info in plugin.Config.model_fields.items():
        if not info.description:
            raise PluginError(f"config field {field!r} has no docstring", where, "write a docstring under the field")


def _prefer_workspace(root: Path) -> None:
    # Editable installs are found at the end of sys.path or by finders after it, so the front of sys.path wins.
    folders = [str(file.parent) for file in sorted((root / PLUGIN_FOLDER).glob("*/pyproject.toml"))]
    sys.path[:0] = [folder for folder in folders if folder not in sys.path[: len(folders)]]


def load_trackers(root: Path, names: Iterable[str]) -> Sequence[Plugin[Any]]:
    """Instances of the trackers named in compute.yaml, with their default configuration.

    Raises:
        PluginError: a tracker is not installed.
    """
    selected = [registry(root).select("tracker", name, "compute.yaml, key trackers").plugin for name in names]
    return [plugin(plugin.Config()) for plugin in selected]
