"""The keys of a plugin's configuration, with the type, default, bounds and meaning of each, sections included."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from workbench.catalog.schema import Schema, of_configs
from workbench.hosting.contract import classes_of
from workbench.plugin import Config

_TYPES = {"integer": "int", "number": "float", "string": "str", "boolean": "bool", "null": "null"}
_BOUNDS = {
    "minimum": ">=",
    "exclusiveMinimum": ">",
    "maximum": "<=",
    "exclusiveMaximum": "<",
    "multipleOf": "multiple of",
    "minItems": "items >=",
    "maxItems": "items <=",
    "minLength": "characters >=",
    "maxLength": "characters <=",
    "pattern": "matches",
}


def describe(config: type[Config]) -> list[dict[str, Any]]:
    """One record per key of ``with:``, those of sections after their section, as ``section.key`` or ``list[].key``.

    Keys: key, type (in words), required, default (null where required), default_in_section (where other keys of the section
    are written), bounds, meaning.
    """
    schemas, definitions = of_configs([config])
    return list(_keys(config, dereferenced(schemas[config], definitions), definitions, "", None))


def _keys(
    model: type[BaseModel], shown: Schema, definitions: Schema, prefix: str, given: BaseModel | None
) -> Iterator[dict[str, Any]]:
    properties = shown.get("properties", {})
    for name, field in model.model_fields.items():
        own = properties.get(name, {})
        default = default_of(field)
        yield {
            "key": prefix + name,
            "type": _words(own, definitions),
            "required": field.is_required() and given is None,
            "default": plain(default if given is None else getattr(given, name)),
            "default_in_section": plain(default),
            "bounds": ", ".join(_bounds(own, definitions)),
            "meaning": " ".join((field.description or "").split()),
        }
        yield from _section(field, own, definitions, prefix + name, default if given is None else getattr(given, name))


def _section(field: FieldInfo, shown: Schema, definitions: Schema, key: str, value: object) -> Iterator[dict[str, Any]]:
    """The keys of a field whose value is a section, or a list or mapping of sections."""
    inner = next((found for found in classes_of(field.annotation) if issubclass(found, BaseModel)), None)
    if inner is None:
        return
    schema, suffix = _inner(shown, definitions)
    yield from _keys(inner, schema, definitions, f"{key}{suffix}.", value if isinstance(value, inner) else None)


def _inner(shown: Schema, definitions: Schema) -> tuple[Schema, str]:
    """The schema of the section inside of ``shown``, and how its keys hang below: directly, in a list, in a mapping."""
    target = dereferenced(shown, definitions)
    if "properties" in target:
        return target, ""
    for branch in target.get("anyOf", ()):
        found, suffix = _inner(branch, definitions)
        if found:
            return found, suffix
    for word, suffix in (("items", "[]"), ("additionalProperties", ".KEY")):
        if isinstance(target.get(word), dict):
            found, more = _inner(target[word], definitions)
            return found, suffix + more
    return {}, ""


def dereferenced(shown: Schema, definitions: Schema) -> Schema:
    """The schema with references resolved."""
    if "$ref" not in shown:
        return shown
    return {**definitions[shown["$ref"].rpartition("/")[2]], **shown}


def _words(shown: Schema, definitions: Schema) -> str:
    """A type in plain words: ``int``, ``list of str``, ``"muon" or "adamw"``."""
    shown = dereferenced(shown, definitions)
    if "const" in shown or "enum" in shown:
        return " or ".join(json.dumps(value, ensure_ascii=False) for value in shown.get("enum", [shown.get("const")]))
    branches = shown.get("anyOf") or shown.get("oneOf")
    if branches:
        return " or ".join(dict.fromkeys(_words(branch, definitions) for branch in branches))
    if "properties" in shown:
        return "section"
    if shown.get("type") == "array":
        return f"list of {_words(shown.get('items', {}), definitions)}"
    if shown.get("type") == "object":
        values = shown.get("additionalProperties", True)
        return f"mapping of str to {_words(values, definitions)}" if isinstance(values, dict) and values else "mapping"
    if shown.get("format") == "path":
        return "path"
    return _TYPES.get(shown.get("type", ""), "any")


def _bounds(shown: Schema, definitions: Schema) -> Iterator[str]:
    shown = dereferenced(shown, definitions)
    yield from (f"{word} {shown[key]}" for key, word in _BOUNDS.items() if key in shown)
    for branch in shown.get("anyOf", ()):
        yield from _bounds(branch, definitions)
    if isinstance(shown.get("items"), dict):
        yield from (f"each {bound}" for bound in _bounds(shown["items"], definitions))


def default_of(field: FieldInfo) -> Any:
    """The default of a field; None if a value is required."""
    return None if field.is_required() else field.get_default(call_default_factory=True)


def plain(value: Any) -> Any:
    """A default as a JSON value."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
