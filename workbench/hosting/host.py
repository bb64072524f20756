"""The plugin host: finds installed plugins, keeps the errors of broken ones, and selects one by kind and name.

A distribution offers its plugins by one entry point of group ``workbench``, whose key is the distribution's name. Each is loaded
on its own, so that a failure is kept as its error and affects only those who select its plugins.
"""

from __future__ import annotations

import contextlib
import difflib
import re
import sys
import traceback
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from workbench.artifacts.formats import Format
from workbench.errors import PluginError
from workbench.hosting import contract, extension, loader, missing
from workbench.hosting.naming import canonical
from workbench.kinds.stage import Stage
from workbench.plugin import Plugin

PLUGIN_FOLDER = missing.PLUGIN_FOLDER


@dataclass(frozen=True)
class Installed:
    """A plugin class with the distribution that provides it."""

    plugin: type[Plugin[Any]]
    distribution: str
    version: str
    module: str
    """Import name of the distribution's package."""
    import_seconds: float = field(default=0.0, compare=False)
    """Time that importing the distribution's package took."""

    @property
    def key(self) -> tuple[str, str]:
        """Kind and name."""
        return self.plugin.kind, self.plugin.name


@dataclass(frozen=True)
class Broken:
    """A distribution that could not be loaded, or one class of it that breaks the contract."""

    distribution: str
    version: str
    error: str
    """One line."""
    traceback: str
    where: str = ""
    """File and line at fault."""
    fix: str = ""
    kind: str = ""
    name: str = ""
    """Kind and name, empty where the whole distribution could not be loaded."""

    def offers(self, kind: str, name: str, kinds: Container[str]) -> bool:
        """Whether it is that plugin, as far as can be told for what could not be loaded."""
        if not self.name:
            return _is_named_after(self.distribution, kind, name)
        return self.name == name and (self.kind == kind or self.kind not in kinds)


@dataclass(frozen=True)
class Registry:
    """Everything installed, working or broken."""

    installed: tuple[Installed, ...]
    broken: tuple[Broken, ...]
    kinds: Mapping[str, type[Plugin[Any]]] = field(default_factory=dict)
    """Kind → its base class; the core's come first."""
    formats: Mapping[str, Format] = field(default_factory=dict)
    owners: Mapping[str, str] = field(default_factory=dict)
    """``kind NAME`` or ``format NAME`` → the distribution that provides it."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Distribution → import name of its package, of all that were loaded."""
    root: Path = Path()
    """The workspace."""

    @property
    def sections(self) -> dict[str, type[Stage[Any]]]:
        """Section of params.yaml → the kind of its stages."""
        return {base.section: base for base in self.kinds.values() if issubclass(base, Stage)}

    def brought_for(self, kind: str, formats: Iterable[str]) -> dict[str, str]:
        """Distribution → package of those that bring a kind and formats."""
        names = [f"kind {kind}", *(f"format {name}" for name in formats)]
        return {owner: self.packages[owner] for owner in sorted({self.owners[name] for name in names if name in self.owners})}

    def names(self, kind: str) -> list[str]:
        """The names of the plugins of a kind."""
        return sorted({entry.plugin.name for entry in self.installed if entry.plugin.kind == kind})

    def select(self, kind: str, name: str, where: str = "") -> Installed:
        """The plugin of that kind and name.

        Raises:
            PluginError: no distribution, or more than one, offers it, or the one that does is broken.
        """
        found = [entry for entry in self.installed if entry.key == (kind, name)]
        if len(found) == 1:
            return found[0]
        if found:
            owners = " and ".join(f"{entry.distribution} {entry.version}" for entry in found)
            fix = f"uninstall one of them, for example `pip uninstall {found[-1].distribution}`"
            raise PluginError(f"two distributions offer the {kind} {name!r}: {owners}", where, fix)
        for broken in self.broken:
            if broken.offers(kind, name, self.kinds) or self._is_of(broken, kind, name):
                raise _broken_error(broken, kind, name, where)
        raise PluginError(*self._unknown(kind, name, where))

    def _is_of(self, broken: Broken, kind: str, name: str) -> bool:
        """Whether a distribution that could not be loaded is the one that a folder or the last lock names for a plugin."""
        provider = missing.distribution(self.root, kind, name) if not broken.name else ""
        return bool(provider) and canonical(broken.distribution) == canonical(provider)

    def _unknown(self, kind: str, name: str, where: str) -> tuple[str, str, str]:
        if kind not in self.kinds:
            return f"there is no kind {kind!r}; the kinds are {', '.join(self.kinds)}", where, _closest(kind, self.kinds)
        choices = self.names(kind)
        what = f"no {kind} {name!r} is installed; there is {', '.join(choices) or 'none of that kind'}"
        fix = missing.pip_line(self.root, kind, name) or _closest(name, choices)
        unread = [f"{broken.distribution} {broken.version}" for broken in self.broken if not broken.name]
        if unread and not fix:
            fix = f"{', '.join(unread)} could not be loaded and may offer it; `workbench plugins --errors` says why"
        return what, where, fix or "install a distribution that offers it"


@cache
def registry(root: Path, distributions: frozenset[str] | None = None) -> Registry:
    """Load what these distributions offer, by default all that are installed.

    A workspace's own ``plugins/*`` take precedence over editable installs from another copy of it.
    """
    _prefer_workspace(root)
    loaded: list[_Loaded] = []
    broken: list[Broken] = []
    for distribution in _offering(distributions):
        name = version = "?"
        try:
            name, version, requirements = loader.read_metadata(distribution)
            if canonical(name) != contract.CORE_DISTRIBUTION:
                contract.require_contract(contract.declared(requirements), f"{name} {version}")
            loaded.append(_Loaded(name, version, loader.load(distribution, name)))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a third-party module may even exit; the error is kept and shown
            broken.append(_broken(name, version, error))
    loaded.sort(key=lambda item: canonical(item.name) != contract.CORE_DISTRIBUTION)
    formats: dict[str, Format] = {}
    kinds: dict[str, type[Plugin[Any]]] = {}
    owners: dict[str, str] = {}
    for item in loaded:
        for format_ in item.sound(item.offer.formats, lambda found: extension.require_format(found, formats), broken):
            formats[format_.name] = format_
            owners[f"format {format_.name}"] = item.name
    for item in loaded:
        for base in item.sound(item.offer.kinds, lambda found: extension.require_kind(found, kinds, formats), broken):
            kinds[base.kind] = base
            owners[f"kind {base.kind}"] = item.name
    whole = distributions is None
    installed = [entry for item in loaded for entry in item.plugins(kinds if whole else None, formats, broken)]
    broken.sort(key=lambda item: (item.distribution, item.name))
    packages = {item.name: item.package for item in loaded}
    return Registry(tuple(installed), tuple(broken), kinds, formats, owners, packages, root)


@dataclass(frozen=True)
class _Loaded:
    """A distribution whose module was imported."""

    name: str
    version: str
    offer: loader.Offer

    @property
    def package(self) -> str:
        """Import name of its package."""
        return self.offer.module.__name__.partition(".")[0]

    def sound(self, offered: Sequence[Any], require: Callable[[Any], None], broken: list[Broken]) -> Iterator[Any]:
        """The offered items that keep the rules; the others go to ``broken``."""
        for found in offered:
            try:
                require(found)
            except Exception as error:  # noqa: BLE001 - a third-party class may raise anything
                broken.append(_broken(self.name, self.version, error))
            else:
                yield found

    def plugins(self, kinds: contract.Kinds | None, formats: Container[str], broken: list[Broken]) -> Iterator[Installed]:
        """Its plugins; those that break the contract go to ``broken``. ``kinds`` is None if not all are known."""
        defects = _defects(self.offer.plugins, kinds, formats)
        for position, plugin in enumerate(self.offer.plugins):
            if position in defects:
                broken.append(_broken(self.name, self.version, defects[position], plugin))
            else:
                yield Installed(plugin, self.name, self.version, self.package, self.offer.seconds)


def named_after(kind: str, name: str) -> frozenset[str]:
    """The distributions named after a plugin, such as ``pionero-workbench-tracker-mlflow``."""
    return frozenset(found for found in map(_canonical, _offering(None)) if _is_named_after(found, kind, name))


def _is_named_after(distribution: str, kind: str, name: str) -> bool:
    return canonical(distribution).endswith(f"{kind}-{canonical(name)}")


def _offering(wanted: frozenset[str] | None) -> list[metadata.Distribution]:
    """The distributions with entry points of the group, by name; of two with the same name, the first one found."""
    names = None if wanted is None else {canonical(name) for name in wanted}
    found: dict[str, metadata.Distribution] = {}
    for distribution in metadata.distributions():
        try:
            text = distribution.read_text("entry_points.txt") or ""
        except UnicodeDecodeError:
            continue  # no installer writes such a file: not one of ours
        if re.search(rf"^\s*\[\s*{loader.GROUP}\s*\]", text, re.MULTILINE):
            found.setdefault(_canonical(distribution), distribution)
    return [found[name] for name in sorted(found) if names is None or name in names]


def _canonical(distribution: metadata.Distribution) -> str:
    with contextlib.suppress(Exception):  # missing or damaged metadata is reported later
        return canonical(distribution.metadata["Name"])
    return str(distribution.locate_file(""))


def _defects(classes: Sequence[Any], kinds: contract.Kinds | None, formats: Container[str]) -> dict[int, BaseException]:
    """What is wrong with classes, by their position."""
    found: dict[int, BaseException] = {}
    for position, plugin in enumerate(classes):
        try:
            contract.require_class(plugin, kinds)
            if kinds is not None:
                extension.require_formats(plugin, formats)
        except Exception as error:  # noqa: BLE001 - a third-party metaclass may raise anything
            found[position] = error
    keys = {position: (plugin.kind, plugin.name) for position, plugin in enumerate(classes) if position not in found}
    for position, (kind, name) in keys.items():
        if list(keys.values()).count((kind, name)) > 1:
            what, fix = (
                f"its distribution offers the {kind} {name!r} twice",
                "rename one of the two, or return it once",
            )
            found[position] = PluginError(what, contract.place(classes[position]), fix)
    return found


def _broken(distribution: str, version: str, error: BaseException, plugin: object = None) -> Broken:
    kind, name = (word if isinstance(word, str) else "" for word in (getattr(plugin, "kind", ""), getattr(plugin, "name", "")))
    text = "".join(traceback.format_exception(error))
    if isinstance(error, PluginError):
        return Broken(distribution, version, error.what, text, error.where or _culprit(error), error.fix, kind, name)
    line = next(iter(str(error).splitlines()), "")
    return Broken(distribution, version, f"{type(error).__name__}: {line}", text, _culprit(error), _advice(error), kind, name)


def _culprit(error: BaseException) -> str:
    """File and line in the plugin's own package where the error came from."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename not in (__file__, loader.__file__)]
    strange = [frame for frame in frames if not frame.filename.startswith("<") and "/importlib/" not in frame.filename]
    own = [frame for frame in strange if Path(frame.filename).is_relative_to(Path(strange[0].filename).parent)]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else ""


def _advice(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"install the missing package, or reinstall the plugin with its dependencies, so that `import {error.name}` works"
    return "fix it or install another release"


def _broken_error(broken: Broken, kind: str, name: str, where: str) -> PluginError:
    what = f"the {kind} {name!r} is installed and broken: {broken.error}"
    fix = f"{broken.fix}; `workbench plugins --errors` shows the traceback of {broken.distribution} {broken.version}"
    return PluginError(what, "; ".join(place for place in (where, broken.where) if place), fix)


def _closest(word: str, choices: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(choices), 1)
    return f"did you mean {close[0]!r}?" if close else ""


def _prefer_workspace(root: Path) -> None:
    # Editable installs are found at the end of sys.path or by finders after it, so the front of sys.path wins.
    folders = [str(file.parent) for file in sorted((root / PLUGIN_FOLDER).glob("*/pyproject.toml"))]
    sys.path[:0] = [folder for folder in folders if folder not in sys.path[: len(folders)]]
