"""A valid example of a plugin in its file, with every key spelled out."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import BaseModel

from workbench.catalog import config_keys
from workbench.catalog.schema import Schema, of_configs
from workbench.errors import WorkbenchError
from workbench.hosting.host import Registry
from workbench.kinds.source import Source
from workbench.kinds.stage import Stage
from workbench.kinds.tracker import Tracker
from workbench.lib.compute import COMPUTE_FILE
from workbench.plugin import Config, Plugin
from workbench.project import params, plugin_lock
from workbench.project.params import PARAMS_FILE

DATA_FLOW = "data"
"""The input whose path a section of params.yaml names, see ``${align.data}`` in dvc.yaml."""


def of_plugin(registry: Registry, plugin: type[Plugin[Any]]) -> dict[str, str]:
    """The example as YAML, with the ``file`` and the ``place`` in it where it belongs."""
    chosen: dict[str, Any] = {"use": plugin.name, "with": of_config(plugin.Config)}
    if issubclass(plugin, Tracker):
        return {"file": str(COMPUTE_FILE), "place": "", "example": _yaml({"trackers": [plugin.name]})}
    if not issubclass(plugin, Stage):
        key, place = _list_of(registry, plugin.kind)
        return {"file": str(PARAMS_FILE), "place": place, "example": _yaml({key: [chosen]})}
    if DATA_FLOW in plugin.inputs:
        chosen = {"use": plugin.name, DATA_FLOW: _data_path(registry, plugin.inputs[DATA_FLOW]), "with": chosen["with"]}
    chosen["seed"] = 0
    entry = {plugin.name: chosen} if plugin.nested else chosen
    return {"file": str(PARAMS_FILE), "place": "", "example": _yaml({plugin.section: entry})}


def _list_of(registry: Registry, kind: str) -> tuple[str, str]:
    """The key of an entry that lists plugins of a kind which is not a stage, and the section of such entries."""
    stages = [*registry.kinds.values(), *(entry.plugin for entry in registry.installed)]
    for stage in (stage for stage in stages if issubclass(stage, Stage)):
        for key, part in stage.parts.items():
            if part == kind:
                return key, f"in an entry of {stage.section}"
    return f"{kind}s", "in an entry of a stage that lists them; none is installed"


def of_config(config: type[Config]) -> dict[str, Any]:
    """Every key with its default; required keys get a value that their type and bounds allow."""
    schemas, definitions = of_configs([config])
    return _filled(config, config_keys.dereferenced(schemas[config], definitions), definitions)


def _filled(model: type[BaseModel], shown: Schema, definitions: Schema) -> dict[str, Any]:
    return {
        name: _sample(shown.get("properties", {}).get(name, {}), definitions)
        if field.is_required()
        else config_keys.plain(config_keys.default_of(field))
        for name, field in model.model_fields.items()
    }


def _sample(shown: Schema, definitions: Schema) -> Any:
    """Some value of a type; authors should give ``examples`` for fields with a pattern or a format."""
    shown = config_keys.dereferenced(shown, definitions)
    for key in ("default", "const"):
        if key in shown:
            return shown[key]
    for key in ("examples", "enum"):
        if shown.get(key):
            return shown[key][0]
    branches = shown.get("anyOf") or shown.get("oneOf")
    if branches:
        return _sample(branches[0], definitions)
    return _of_type(shown, definitions)


def _of_type(shown: Schema, definitions: Schema) -> Any:
    kind = shown.get("type")
    if kind == "object":
        return {key: _sample(shown["properties"][key], definitions) for key in shown.get("required", ())}
    if kind == "array":
        number = max(shown.get("minItems", 1), 1)
        return [_sample(shown.get("items", {}), definitions)] * number
    if kind == "string":
        return "…".ljust(shown.get("minLength", 1), "…")
    if kind in ("integer", "number"):
        return _number(shown, whole=kind == "integer")
    return kind == "boolean" or None


def _number(shown: Schema, *, whole: bool) -> float:
    least, most = shown.get("minimum"), shown.get("maximum")
    above, below = shown.get("exclusiveMinimum"), shown.get("exclusiveMaximum")
    if least is None and above is not None:
        top = most if most is not None else below
        least = above + (1 if whole or top is None or top > above + 1 else (top - above) / 2)
    if least is None:
        least = most if most is not None else (below - 1 if below is not None else 1)
    step = shown.get("multipleOf")
    if step:
        least = -(-least // step) * step
    return int(least) if whole else float(least)


def _data_path(registry: Registry, format_: str) -> str:
    """The path at which the workspace's params.yaml makes data of that format."""
    made = None
    with contextlib.suppress(WorkbenchError):  # the example is useful even if params.yaml is invalid
        made = data_path(registry, params.load(registry.root), format_)
    return made or f"data/{Source.makes}/{format_}"


def data_path(registry: Registry, content: Mapping[str, Any], format_: str) -> str | None:
    """The path at which the sections of a params.yaml make data of a format; None if nothing there does.

    Raises:
        ParamsError: an entry is not one.
    """
    for entry in params.entries(content, registry.sections):
        with contextlib.suppress(WorkbenchError):  # an entry that is wrong makes nothing
            if getattr(plugin_lock.resolve_entry(entry, registry).stage, "produces", "") == format_:
                return f"data/{registry.sections[entry.address.partition('.')[0]].makes}/{entry.address.partition('.')[2]}"
    return None


def _yaml(value: object) -> str:
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110))
