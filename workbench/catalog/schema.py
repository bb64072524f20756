"""JSON Schema of params.yaml (draft 2020-12), built from the installed plugins, so that editors complete and check it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import DEFAULT_REF_TEMPLATE, GenerateJsonSchema, models_json_schema

from workbench.hosting.host import Registry
from workbench.kinds.stage import Stage
from workbench.lib.commit import write_text
from workbench.plugin import Plugin
from workbench.project.params import Rerun

SCHEMA_FILE = Path(".workbench/params.schema.json")
SEED_LIMIT = 2**32 - 1
_KEY = r"^[\w-]*[^\W_][\w-]*$"
_RERUN = "What moved code does to the stage: rerun it; keep its result and say so (warn); keep it and run no other code (pin)."
_MODELS = "Names of the models that every evaluation is run on, below data/models. Only dvc.yaml reads this key."
_OBJECT = {"type": "object"}
_PART = "{}-in-a-list"
_ENTRY = {"type": "object", "required": ["use"]}
_HAS_ENTRIES = {"allOf": [{"not": {"required": ["use"]}}, {"not": {"additionalProperties": {"not": _ENTRY}}}]}
"""A section with several entries, see :mod:`workbench.project.params`: not an entry itself, but one of its values is."""
Schema = dict[str, Any]
_NONE: Schema = {}


class _Generator(GenerateJsonSchema):
    """Omits titles, which would only repeat the keys."""

    def field_title_should_be_set(self, schema: object) -> bool:
        """Never."""
        return False


def of_configs(models: Sequence[type[BaseModel]]) -> tuple[dict[type[BaseModel], Schema], dict[str, Schema]]:
    """The schema of each configuration class, and the definitions that they refer to below ``#/$defs/``.

    A class with a type that JSON cannot express becomes any mapping.
    """
    sound = [model for model in dict.fromkeys(models) if _has_schema(model)]
    keys, whole = models_json_schema([(model, "validation") for model in sound], schema_generator=_Generator)
    found: dict[type[BaseModel], Schema] = dict.fromkeys(models, _OBJECT)
    found |= {model: keys[model, "validation"] for model in sound}
    definitions: dict[str, Schema] = whole.get("$defs", {})
    for definition in definitions.values():
        definition.pop("title", None)
    return found, definitions


def build(registry: Registry) -> Schema:
    """The schema of params.yaml."""
    offered: dict[str, list[type[Plugin[Any]]]] = {}
    for installed in sorted(registry.installed, key=lambda installed: installed.key):
        offered.setdefault(installed.plugin.kind, []).append(installed.plugin)
    configs, definitions = of_configs([plugin.Config for plugins in offered.values() for plugin in plugins])
    sections = registry.sections
    stages = {base.kind for base in sections.values()}
    parts = {part for kind in stages for plugin in offered.get(kind, ()) for part in _parts(plugin).values()}
    for kind in sorted(stages):
        definitions[kind] = _stage(offered.get(kind, []), configs)
    for kind in sorted(parts):
        definitions[_PART.format(kind)] = _entry(offered.get(kind, []), configs)
    properties: Schema = {"models": {"description": _MODELS, "type": "array", "items": {"type": "string"}}}
    for name, section in sections.items():
        entry = _ref(section.kind)
        several = _several(section.kind, entry)
        properties[name] = several if section.nested else {"if": _HAS_ENTRIES, "then": several, "else": entry}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "params.yaml",
        "description": "What to run: for each stage a plugin, its configuration and a seed.",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "$defs": dict(sorted(definitions.items())),
    }


def write(root: Path, registry: Registry) -> Path:
    """Write the schema of params.yaml to where its first line points to; returns the file, relative to ``root``."""
    (root / SCHEMA_FILE).parent.mkdir(exist_ok=True)
    write_text(root / SCHEMA_FILE, json.dumps(build(registry), indent=1) + "\n")
    return SCHEMA_FILE


def first_line(plugin: type[Plugin[Any]]) -> str:
    """The first line of the plugin's docstring."""
    return (inspect.getdoc(plugin) or "").partition("\n")[0]


def _has_schema(model: type[BaseModel]) -> bool:
    try:
        model.model_json_schema(schema_generator=_Generator)
    except PydanticInvalidForJsonSchema:
        return False
    return True


def _several(kind: str, entry: Schema) -> Schema:
    return {
        "description": f"One {kind} per key.",
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": _KEY},
        "additionalProperties": entry,
    }


def _entry(plugins: Sequence[type[Plugin[Any]]], configs: Mapping[type[BaseModel], Schema], more: Schema = _NONE) -> Schema:
    """The schema of ``{use: …, with: …}`` for plugins of one kind, with ``more`` keys, of which each plugin accepts its own."""
    use = {
        "description": "The plugin, one of:\n\n" + "\n".join(f"- {plugin.name}: {first_line(plugin)}" for plugin in plugins),
        "enum": list(dict.fromkeys(plugin.name for plugin in plugins)),
    }
    with_ = {"description": "Its configuration; omitted keys get their defaults.", "type": "object"}
    entry: Schema = {
        "type": "object",
        "properties": {"use": use, "with": with_, **more},
        "required": ["use"],
        "additionalProperties": False,
    }
    if plugins:
        entry["allOf"] = [_configured(plugin, configs[plugin.Config], more) for plugin in plugins]
    return entry


def _stage(plugins: Sequence[type[Plugin[Any]]], configs: Mapping[type[BaseModel], Schema]) -> Schema:
    """An entry with seed, policy, the lists of further plugins, and the paths that dvc.yaml reads as ``${stage.flow}``."""
    keys: Schema = {
        "seed": {"description": "Seed of the stage's random choices.", "type": "integer", "minimum": 0, "maximum": SEED_LIMIT},
        "rerun": {"description": _RERUN, "enum": list(get_args(Rerun))},
    }
    for plugin in plugins:
        for key, kind in _parts(plugin).items():
            items = _ref(_PART.format(kind))
            keys[key] = {"description": f"Plugins of kind {kind}, in their order.", "type": "array", "items": items}
        for flow, format_ in _inputs(plugin).items():
            keys.setdefault(flow, {"description": f"Path of its input, {format_}, for dvc.yaml.", "type": "string"})
    return _entry(plugins, configs, keys)


def _configured(plugin: type[Plugin[Any]], config: Schema, more: Schema) -> Schema:
    """If that plugin is used, its configuration must match; it may be omitted if every key has a default."""
    chosen = {"properties": {"use": {"const": plugin.name}}, "required": ["use"]}
    useless = more.keys() - {"seed", "rerun", *_parts(plugin), *_inputs(plugin)}
    then: Schema = {"properties": {"with": config, **dict.fromkeys(sorted(useless), False)}}
    if any(field.is_required() for field in plugin.Config.model_fields.values()):
        then["required"] = ["with"]
    return {"if": chosen, "then": then}


def _parts(plugin: type[Plugin[Any]]) -> Mapping[str, str]:
    return plugin.parts if issubclass(plugin, Stage) else {}


def _inputs(plugin: type[Plugin[Any]]) -> Mapping[str, str]:
    return plugin.inputs if issubclass(plugin, Stage) else {}


def _ref(definition: str) -> Schema:
    return {"$ref": DEFAULT_REF_TEMPLATE.format(model=definition)}
