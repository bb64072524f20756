"""The plugin contract: its version, how a distribution declares it, and the rules for every plugin class."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

import pluggy
from pydantic import BaseModel

from workbench import __version__, hookspecs
from workbench.errors import PluginError
from workbench.kinds.tracker import Tracker
from workbench.plugin import Config, Plugin

CORE_DISTRIBUTION = "pionero-workbench"
CONTRACT_VERSION = 1
RELEASES = ">=0.1,<0.2"
"""The releases of the core that implement this contract. A plugin written for it requires exactly these of the core."""
ENVIRONMENTS = ("shared", "own")
NAME = re.compile(r"[A-Za-z0-9]+([._-][A-Za-z0-9]+)*")
_CORE_NAME = re.compile(r"pionero[-_.]+workbench(?![\w.-])", re.IGNORECASE)


def declared(requirements: Sequence[str]) -> str:
    """The releases of the core that a distribution requires, from its ``Requires-Dist`` lines; empty if it requires none."""
    lines = [line.partition(";")[0] for line in requirements if _CORE_NAME.match(line) and "extra ==" not in line]
    return ",".join(sorted(clause for line in lines for clause in _clauses(line)))


def require_contract(releases: str, where: str) -> None:
    """Refuse a distribution that was not written for this contract.

    Args:
        releases: see :func:`declared`.
        where: the distribution, for the message.

    Raises:
        PluginError: it requires other releases of the core, or does not say which.
    """
    clauses = set(releases.split(",")) - {""}
    if clauses == set(RELEASES.split(",")):
        return  # what `workbench new-plugin` writes; importing `packaging` for it would cost each command 40 ms
    write = f'under `dependencies` in its pyproject.toml write "{CORE_DISTRIBUTION}{RELEASES}" and install it again'
    if not clauses:
        raise PluginError("it does not say for which contract it was written", where, write)
    if not any(clause.startswith(("<", "==", "~=")) for clause in clauses):
        what = f"it requires {CORE_DISTRIBUTION}{releases}, without an upper bound, and so claims every contract to come"
        raise PluginError(what, where, write)
    from packaging.specifiers import SpecifierSet

    if not SpecifierSet(releases).contains(__version__, prereleases=True):
        what = f"it was written for {CORE_DISTRIBUTION}{releases}"
        what += f", and this is {__version__}, which speaks contract {CONTRACT_VERSION} ({RELEASES})"
        raise PluginError(what, where, "install a release of the plugin for this contract, or the workbench that it asks for")


Kinds = Mapping[str, type[Plugin[Any]]]
"""Kind → its base class."""


def require_class(plugin: object, kinds: Kinds | None = None) -> None:
    """Refuse a class that breaks the contract.

    Args:
        plugin: what a distribution offers as a plugin.
        kinds: the offered kinds; None if not all are known, as in a stage's process.

    Raises:
        PluginError: says what is wrong, in which file and line, and how to fix it.
    """
    if not (isinstance(plugin, type) and issubclass(plugin, Plugin)):
        raise PluginError(
            f"{plugin!r} is not a plugin class", place(plugin), f"return classes that subclass a kind{_list(kinds)}"
        )
    _require_kind(plugin, kinds)
    _require_name(plugin)
    if not vars(plugin).get("__doc__"):
        raise PluginError(f"class {plugin.__qualname__} has no docstring", place(plugin), "say what it does under the class line")
    if missing := sorted(getattr(plugin, "__abstractmethods__", ())):
        names = ", ".join(missing)
        raise PluginError(f"class {plugin.__qualname__} does not define {names}", place(plugin), f"define {names}")
    if plugin.environment not in ENVIRONMENTS:
        what, fix = f"environment is {plugin.environment!r}", f"set it to one of {', '.join(ENVIRONMENTS)}"
        raise PluginError(what, place(plugin, "environment"), fix)
    _require_config(plugin)
    _require_hooks(plugin)


def base_of(plugin: type[Plugin[Any]]) -> type[Plugin[Any]] | None:
    """The base class of a plugin's kind: the topmost class that sets ``kind``; None if no class does."""
    return next((base for base in reversed(plugin.__mro__) if issubclass(base, Plugin) and "kind" in vars(base)), None)


def models_of(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A configuration class and those of its nested sections, each once."""
    pending, seen = [model], set[type[BaseModel]]()
    while pending:
        current = pending.pop(0)
        if current in seen:
            continue
        seen.add(current)
        yield current
        for field in current.model_fields.values():
            pending += [inner for inner in classes_of(field.annotation) if issubclass(inner, BaseModel)]


def classes_of(annotation: Any) -> Iterator[type]:
    """The classes in a type such as ``list[Section] | None``."""
    arguments = get_args(annotation)
    if not arguments and isinstance(annotation, type):
        yield annotation
    for argument in arguments:
        yield from classes_of(argument)


def place(subject: object, word: str = "") -> str:
    """The file and line of a class or function, or of the line within it that sets ``word``."""
    try:
        file = inspect.getsourcefile(subject)  # type: ignore[arg-type]
        lines, first = inspect.getsourcelines(subject)  # type: ignore[arg-type]
    except (TypeError, OSError):
        return str(getattr(subject, "__module__", ""))
    pattern = re.compile(rf"\s*{re.escape(word)}\s*[:=]")
    offset = next((at for at, line in enumerate(lines) if pattern.match(line)), 0) if word else 0
    return f"{file}, line {first + offset}"


def _clauses(requirement: str) -> list[str]:
    specifiers = re.sub(r"\[.*?\]|[()\s]", "", _CORE_NAME.sub("", requirement, count=1))
    return [clause for clause in specifiers.split(",") if clause]


def _require_kind(plugin: type[Plugin[Any]], kinds: Kinds | None) -> None:
    base = base_of(plugin)
    if base is None:
        what = f"class {plugin.__qualname__} is of no kind: it subclasses {plugin.__base__.__name__}"  # type: ignore[union-attr]
        raise PluginError(what, place(plugin), f"subclass the base class of a kind{_list(kinds)}")
    if base is plugin:
        fix = "return a subclass of it; `workbench_kinds` offers the kind itself"
        raise PluginError(f"{plugin.__qualname__} is the base class of a kind", place(plugin), fix)
    if plugin.kind != vars(base)["kind"]:
        what = f"kind is {plugin.kind!r}, and the base class {base.__name__} makes it {vars(base)['kind']!r}"
        raise PluginError(what, place(plugin, "kind"), f"remove `kind` from class {plugin.__qualname__}")
    if kinds is not None and kinds.get(plugin.kind) is not base:
        what = f"class {plugin.__qualname__} is of the kind {plugin.kind!r} of {base.__module__}, which no distribution offers"
        fix = f"return {base.__name__} from the hook `workbench_kinds` of its distribution"
        raise PluginError(what, place(plugin), fix)


def _list(kinds: Kinds | None) -> str:
    return f": {', '.join(kinds)}" if kinds else ""


def _require_name(plugin: type[Plugin[Any]]) -> None:
    name = getattr(plugin, "name", None)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        what = f"class {plugin.__qualname__} has " + ("no name" if name is None else f"the name {name!r}")
        fix = f'set `name = "…"` on the class: letters, digits and single hyphens; `use:` selects the {plugin.kind} by it'
        raise PluginError(what, place(plugin, "name"), fix)


def _require_config(plugin: type[Plugin[Any]]) -> None:
    config = getattr(plugin, "Config", None)
    if not (isinstance(config, type) and issubclass(config, Config)):
        what = f"class {plugin.__qualname__} has " + ("no Config" if config is None else f"the Config {config!r}")
        raise PluginError(what, place(plugin, "Config"), "set `Config` to a subclass of workbench.plugin.Config")
    for model in models_of(config):
        _require_model(model)
    required = [name for name, field in config.model_fields.items() if field.is_required()]
    if issubclass(plugin, Tracker) and required:
        what = f"config field {required[0]!r} of {config.__qualname__} has no default, and trackers run with their defaults"
        raise PluginError(what, place(config, required[0]), "give it one, taken from the environment where sites differ")


def _require_model(model: type[BaseModel]) -> None:
    fix = "subclass workbench.plugin.Config and leave its `model_config` as it is"
    if not model.model_config.get("frozen"):
        raise PluginError(f"configuration {model.__qualname__} is not frozen", place(model, "model_config"), fix)
    if model.model_config.get("extra") != "forbid":
        raise PluginError(f"configuration {model.__qualname__} accepts unknown keys", place(model, "model_config"), fix)
    for name, field in model.model_fields.items():
        if not (field.description or "").strip():
            what = f"config field {name!r} of {model.__qualname__} has no docstring"
            raise PluginError(what, place(model, name), "write under the field what it means, with its unit")
        for inner in classes_of(field.annotation):
            if dataclasses.is_dataclass(inner) or (issubclass(inner, dict) and inner is not dict):
                what = f"config field {name!r} of {model.__qualname__} is of type {inner.__name__}, which is not a Config"
                raise PluginError(what, place(model, name), f"make {inner.__name__} a subclass of workbench.plugin.Config")


def _require_hooks(plugin: type[Plugin[Any]]) -> None:
    """The hooks that the class implements, as trackers do, exist and have the specified arguments."""
    manager = pluggy.PluginManager("workbench")
    own = [name for base in plugin.__mro__ if not base.__module__.startswith("workbench.") for name in vars(base)]
    marked = [name for name in own if manager.parse_hookimpl_opts(plugin, name)]
    if not marked:
        return
    manager.add_hookspecs(hookspecs.TrackerHooks)
    known = hookspecs.tracker_hooks()
    for name in marked:
        if name not in known:
            fix = f"the hooks of a tracker are {', '.join(known)}"
            raise PluginError(f"there is no hook {name!r}", place(getattr(plugin, name)), fix)
    try:
        manager.register(object.__new__(plugin))  # pluggy ignores `self` only for bound methods
    except pluggy.PluginValidationError as error:
        problem = f"{str(error).splitlines()[0].partition(' for ')[2]}: {str(error).splitlines()[-1]}"
        raise PluginError(problem, place(plugin), "give each hook the arguments of workbench.hookspecs.TrackerHooks") from error
