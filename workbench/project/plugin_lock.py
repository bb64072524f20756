"""plugins-lock.json: for each stage, everything that decides its result, so that DVC can see it.

``stages`` holds what is compared (configuration with defaults filled in, seed, identities of the plugins, versions
of external inputs); ``installed`` holds information that is not compared. If a stage's policy is to keep its result when
code moves, ``stages`` holds the identities that made the result, and ``moved`` those of the code that is there now.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from workbench.artifacts import dvc_lock, unreadable
from workbench.errors import ParamsError, PluginError
from workbench.hosting import environment
from workbench.hosting.contract import CORE_DISTRIBUTION
from workbench.hosting.host import Installed, Registry
from workbench.hosting.identity import code_digest, core_digest, dependencies, identity
from workbench.kinds.stage import Stage
from workbench.lib.commit import write_text
from workbench.lib.layout import LOCK_FILE
from workbench.plugin import Plugin
from workbench.project.params import PARAMS_FILE, Choice, Entry, Rerun, choice, require_known

LOCK_VERSION = 1
_RESOLVE = "run `dvc repro`, which resolves first, or `workbench resolve`"


@dataclass(frozen=True)
class Resolved:
    """A stage's entry with its plugins selected, configured and checked."""

    entry: Entry
    stage: Stage[Any]
    used: tuple[Installed, ...]
    """The stage's plugin and the plugins it is composed with."""
    beside: Mapping[str, str] = field(default_factory=dict)
    """Distribution → package of the others that provide its kind and the formats that it reads and writes."""

    def locked(self) -> dict[str, Any]:
        """The compared record."""
        record: dict[str, Any] = {
            "kind": self.entry.kind,
            "use": self.entry.choice.use,
            "config": self.stage.config.model_dump(mode="json"),
            "seed": self.entry.seed,
            "plugins": {f"{entry.plugin.kind} {entry.plugin.name}": identity(entry, self._version) for entry in self.used},
        }
        for key, members in self.stage.members.items():
            record[key] = [{"use": member.name, "config": member.config.model_dump(mode="json")} for member in members]
        if self.external:
            record["external"] = self.external
        return record

    def moved(self, record: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, str]:
        """Identities of the plugins whose code has changed since the recorded ``result``, if the policy keeps it.

        A result that differs in more than code is stale anyway, so nothing is kept.

        Args:
            record: of :meth:`locked`.
            result: the record that made the newest result; empty if there is none.
        """
        if self.entry.rerun == "rerun" or {**record, "plugins": None} != {**result, "plugins": None}:
            return {}
        former = result.get("plugins", {})
        return {name: identity for name, identity in record["plugins"].items() if former.get(name) != identity}

    def installed(self) -> dict[str, Any]:
        """The record under ``installed``: information that is not compared."""
        return {
            f"{entry.plugin.kind} {entry.plugin.name}": {
                "distribution": entry.distribution,
                "version": entry.version,
                "code": code_digest(entry.module)[:32],
                "core": core_digest(entry)[:32],
                "dependencies": dependencies(entry, self._version),
            }
            for entry in self.used
        }

    @cached_property
    def _version(self) -> Callable[[str], str]:
        return environment.versions(self.used, self.beside)

    @cached_property
    def external(self) -> dict[str, str]:
        """Versions or digests of what the plugins read from outside the pipeline.

        Raises:
            WorkbenchError: one of them does not exist.
        """
        found = dict(self.stage.external_inputs())
        for key, members in self.stage.members.items():
            for place, member in enumerate(members):  # two of them may read inputs with the same name
                found |= {f"{key}[{place}] {name}": version for name, version in member.external_inputs().items()}
        return found


def resolve_entry(entry: Entry, registry: Registry) -> Resolved:
    """Select, configure and check the plugins of one entry.

    Raises:
        PluginError: a plugin is unknown, broken or ambiguous.
        ParamsError: a key is unknown or a value out of range.
    """
    selected = registry.select(entry.kind, entry.choice.use, f"{PARAMS_FILE}, key {entry.address}.use")
    cls = selected.plugin
    if not issubclass(cls, Stage):
        raise PluginError(f"{cls.__name__} is no stage", selected.distribution, "subclass a kind of stage")
    for key in entry.others:
        require_known(key, ["use", "with", "seed", "rerun", *cls.parts, *cls.inputs], f"{PARAMS_FILE}, key {entry.address}")
    used = [selected]
    members: dict[str, Sequence[Plugin[Any]]] = {}
    for key, kind in cls.parts.items():
        choices = _choices(entry.others.get(key) or [], f"{entry.address}.{key}")
        parts = [registry.select(kind, part.use, f"{PARAMS_FILE}, key {part.where}.use") for part in choices]
        members[key] = [part.plugin(configure(part.plugin, chosen)) for part, chosen in zip(parts, choices, strict=True)]
        used += [part for part in parts if part not in used]
    stage = cls(configure(cls, entry.choice), {key: value for key, value in members.items() if value})
    formats = {*stage.inputs.values(), *map(stage.produced, stage.outputs)}
    if unknown := sorted(formats - registry.formats.keys()):
        what = f"{entry.kind} {cls.name!r} reads or writes {', '.join(unknown)}, which is not a known format"
        fix = "correct `inputs`, `outputs` or `produces`, or install the distribution that offers the format"
        raise PluginError(what, f"{PARAMS_FILE}, key {entry.address}; {selected.distribution}", fix)
    own = {CORE_DISTRIBUTION, *(part.distribution for part in used)}
    beside = {name: module for name, module in registry.brought_for(entry.kind, formats).items() if name not in own}
    return Resolved(entry, stage, tuple(used), beside)


def configure(plugin: type[Plugin[Any]], chosen: Choice) -> Any:
    """Validate a configuration.

    Raises:
        ParamsError: names the key, the value, and the closest known key or the allowed range.
    """
    known = list(plugin.Config.model_fields)
    for key in chosen.config:
        require_known(key, known, f"{PARAMS_FILE}, key {chosen.where}.with")
    try:
        return plugin.Config.model_validate(dict(chosen.config))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in (chosen.where, "with", *first["loc"]))
        fix = f"`workbench info {plugin.kind} {plugin.name}` lists every key with its bounds"
        raise ParamsError(f"{first['msg']}; got {first['input']!r}", f"{PARAMS_FILE}, key {key}", fix) from error


def make(root: Path, resolved: Sequence[Resolved], outs: Iterable[str]) -> dict[str, Any]:
    """The whole content of plugins-lock.json; the results that policies keep are those of dvc.lock below ``root``.

    Args:
        root: the workspace.
        resolved: its stages.
        outs: what they write, for :func:`read_outs`.
    """
    content: dict[str, Any] = {"version": LOCK_VERSION, "stages": {}, "installed": {}, "outs": sorted(outs)}
    results = _results(root) if any(item.entry.rerun != "rerun" for item in resolved) else {}
    for item in resolved:
        record, result = item.locked(), results.get(item.entry.address, {})
        if moved := item.moved(record, result):
            content.setdefault("moved", {})[item.entry.address] = {"rerun": item.entry.rerun, "plugins": moved}
            record["plugins"] |= {name: result["plugins"][name] for name in moved}
        _put(content["stages"], item.entry.address, record)
        content["installed"].update(item.installed())
        if item.beside:
            content.setdefault("beside", {})[item.entry.address] = sorted(item.beside)
    content["installed"] = dict(sorted(content["installed"].items()))
    return content


def write(root: Path, content: Mapping[str, Any]) -> None:
    """Write plugins-lock.json atomically."""
    write_text(root / LOCK_FILE, json.dumps(content, indent=1, sort_keys=True) + "\n")


@dataclass(frozen=True)
class Locked:
    """The entry of a stage in plugins-lock.json."""

    record: dict[str, Any]
    """The compared record."""
    rerun: Rerun
    """The policy that kept changed code out of the record."""
    moved: dict[str, str]
    """The plugins whose code has changed, with their current identities."""
    distributions: frozenset[str]
    """The distributions of its plugins, their kinds and formats."""

    @property
    def plugins(self) -> dict[str, str]:
        """The identities of the code that runs."""
        return {**self.record["plugins"], **self.moved}


def read_entry(root: Path, address: str) -> Locked:
    """The file's entry for a stage.

    Raises:
        ParamsError: the file or the entry is missing.
    """
    content = _read(root)
    record: Any = content["stages"]
    for part in address.split("."):
        if not isinstance(record, dict) or part not in record:
            raise ParamsError(f"no stage {address!r}", str(LOCK_FILE), _RESOLVE)
        record = record[part]
    moved = content.get("moved", {}).get(address, {"rerun": "rerun", "plugins": {}})
    installed = [entry for name, entry in content["installed"].items() if name in record["plugins"]]
    distributions = {CORE_DISTRIBUTION, *(entry["distribution"] for entry in installed)}
    distributions.update(content.get("beside", {}).get(address, ()))
    return Locked(dict(record), moved["rerun"], moved["plugins"], frozenset(distributions))


def is_recorded(root: Path, resolved: Resolved) -> bool:
    """Whether the file, if there is one, holds an entry of this plugin and configuration."""
    try:
        record = read_entry(root, resolved.entry.address).record
    except (ParamsError, ValueError, KeyError):
        return False
    now = resolved.locked()
    return all(record.get(key) == now[key] for key in ("kind", "use", "config"))


def read_outs(root: Path) -> list[Path]:
    """What the stages write according to dvc.yaml; a plugin's own environment lacks DVC to read that with.

    Raises:
        ParamsError: the file is missing, or an earlier version of the workbench wrote it.
    """
    content = _read(root)
    if "outs" not in content:
        raise ParamsError("it does not say what the stages write", str(LOCK_FILE), _RESOLVE)
    return [Path(out) for out in content["outs"]]


def _read(root: Path) -> dict[str, Any]:
    file = root / LOCK_FILE
    if not file.is_file():
        raise ParamsError(f"{LOCK_FILE} is missing", str(root.resolve()), _RESOLVE)
    text = file.read_text(encoding="utf-8", errors="replace")
    try:
        content = json.loads(text)
    except ValueError as error:
        what, fix = unreadable.explain(LOCK_FILE.name, text, f"not JSON: {error}", _RESOLVE)
        raise ParamsError(what, str(LOCK_FILE), fix) from error
    if not isinstance(content, dict) or not {"stages", "installed"} <= content.keys():
        raise ParamsError("it holds no stages", str(LOCK_FILE), _RESOLVE)
    return content


def _results(root: Path) -> dict[str, dict[str, Any]]:
    """Address → the record that made the newest result, from dvc.lock."""
    found: dict[str, dict[str, Any]] = {}
    for stage in dvc_lock.stages(root).values():
        for key, record in stage.get("params", {}).get(str(LOCK_FILE), {}).items():
            found[key.removeprefix("stages.")] = record
    return found


def _choices(value: object, where: str) -> list[Choice]:
    if not isinstance(value, list):
        raise ParamsError("it is not a list", f"{PARAMS_FILE}, key {where}", "write `- use: NAME` lines")
    chosen = []
    for position, item in enumerate(value):
        place = f"{where}[{position}]"
        chosen.append(choice(item, place))
        for key in item:
            require_known(key, ["use", "with"], f"{PARAMS_FILE}, key {place}")
    return chosen


def _put(tree: dict[str, Any], address: str, value: object) -> None:
    *parents, last = address.split(".")
    for part in parents:
        tree = tree.setdefault(part, {})
    tree[last] = value
