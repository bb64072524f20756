"""plugins.lock.json: for each stage, all that decides its result, so that DVC can see it.

``stages`` holds what is compared (configuration with defaults filled in, seed, identities of the plugins, versions
of external inputs); ``installed`` holds what is only worth knowing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from workbench.commit import write_text
from workbench.errors import ParamsError, PluginError
from workbench.host import Installed, Registry
from workbench.identity import dependencies, identity
from workbench.kinds.stage import Stage
from workbench.params import PARAMS_FILE, Choice, Entry, choice, require_known
from workbench.plugin import Plugin

LOCK_FILE = Path("plugins.lock.json")
LOCK_VERSION = 1


@dataclass(frozen=True)
class Resolved:
    """A stage's entry with its plugins selected, configured and checked."""

    entry: Entry
    stage: Stage[Any]
    used: tuple[Installed, ...]
    """The stage's plugin and the plugins it is composed with."""

    def locked(self) -> dict[str, Any]:
        """The compared record."""
        record: dict[str, Any] = {
            "use": self.entry.choice.use,
            "config": self.stage.config.model_dump(mode="json"),
            "seed": self.entry.seed,
            "plugins": {f"{entry.plugin.kind} {entry.plugin.name}": identity(entry) for entry in self.used},
        }
        for key, members in self.stage.members.items():
            record[key] = [{"use": member.name, "config": member.config.model_dump(mode="json")} for member in members]
        if self.external:
            record["external"] = self.external
        return record

    def installed(self) -> dict[str, Any]:
        """What is only worth knowing."""
        return {
            f"{entry.plugin.kind} {entry.plugin.name}": {
                "distribution": entry.distribution,
                "version": entry.version,
                "dependencies": dependencies(entry),
            }
            for entry in self.used
        }

    @cached_property
    def external(self) -> dict[str, str]:
        """Versions or digests of what the plugins read from outside the pipeline.

        Raises:
            WorkbenchError: one of them does not exist.
        """
        found = dict(self.stage.external_inputs())
        for members in self.stage.members.values():
            for member in members:
                found.update(member.external_inputs())
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
        raise PluginError(f"{cls.__name__} is no stage", selected.distribution, "subclass a kind of workbench.kinds")
    for key in entry.others:
        require_known(key, ["use", "with", "seed", *cls.parts, *cls.inputs], f"{PARAMS_FILE}, key {entry.address}")
    used = [selected]
    members: dict[str, Sequence[Plugin[Any]]] = {}
    for key, kind in cls.parts.items():
        choices = _choices(entry.others.get(key) or [], f"{entry.address}.{key}")
        parts = [registry.select(kind, part.use, f"{PARAMS_FILE}, key {part.where}.use") for part in choices]
        members[key] = [part.plugin(configure(part.plugin, chosen)) for part, chosen in zip(parts, choices, strict=True)]
        used += [part for part in parts if part not in used]
    stage = cls(configure(cls, entry.choice), {key: value for key, value in members.items() if value})
    return Resolved(entry, stage, tuple(used))


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


def make(resolved: Sequence[Resolved]) -> dict[str, Any]:
    """The whole content of plugins.lock.json."""
    content: dict[str, Any] = {"version": LOCK_VERSION, "stages": {}, "installed": {}}
    for item in resolved:
        _put(content["stages"], item.entry.address, item.locked())
        content["installed"].update(item.installed())
    content["installed"] = dict(sorted(content["installed"].items()))
    return content


def write(root: Path, content: Mapping[str, Any]) -> None:
    """Write plugins.lock.json atomically."""
    write_text(root / LOCK_FILE, json.dumps(content, indent=1, sort_keys=True) + "\n")


def read_entry(root: Path, address: str) -> dict[str, Any]:
    """The compared record of one stage.

    Raises:
        ParamsError: the file or the entry is missing.
    """
    file = root / LOCK_FILE
    fix = "run `dvc repro`, which resolves first, or `workbench resolve`"
    if not file.is_file():
        raise ParamsError(f"{LOCK_FILE} is missing", str(root.resolve()), fix)
    record: Any = json.loads(file.read_text(encoding="utf-8"))["stages"]
    for part in address.split("."):
        if not isinstance(record, dict) or part not in record:
            raise ParamsError(f"no stage {address!r}", str(LOCK_FILE), fix)
        record = record[part]
    return dict(record)


def _choices(value: object, where: str) -> list[Choice]:
    if not isinstance(value, list):
        raise ParamsError("it is no list", f"{PARAMS_FILE}, key {where}", "write `- use: NAME` lines")
    return [choice(item, f"{where}[{position}]") for position, item in enumerate(value)]


def _put(tree: dict[str, Any], address: str, value: object) -> None:
    *parents, last = address.split(".")
    for part in parents:
        tree = tree.setdefault(part, {})
    tree[last] = value
