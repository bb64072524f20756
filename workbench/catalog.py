"""The installed plugins, described for people and programs."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import yaml
from pydantic_core import PydanticUndefined

from workbench.host import Installed, Registry
from workbench.identity import code_digest, dependencies


def rows(registry: Registry) -> list[dict[str, str]]:
    """One row per plugin, broken distributions last."""
    listed = sorted(registry.installed, key=lambda entry: entry.key)
    found = [
        {
            "kind": entry.plugin.kind,
            "name": entry.plugin.name,
            "distribution": entry.distribution,
            "version": entry.version,
            "source": _source(entry),
            "health": "two distributions offer it" if sum(other.key == entry.key for other in listed) > 1 else "ok",
        }
        for entry in listed
    ]
    broken = [
        {"kind": "?", "name": "?", "distribution": item.distribution, "version": item.version, "source": "", "health": item.error}
        for item in registry.broken
    ]
    return found + broken


def describe(entry: Installed) -> dict[str, Any]:
    """All about one plugin: docstring, configuration fields, an example block for params.yaml."""
    plugin = entry.plugin
    return {
        "kind": plugin.kind,
        "name": plugin.name,
        "distribution": entry.distribution,
        "version": entry.version,
        "source": _source(entry),
        "code": code_digest(entry.module)[:16],
        "dependencies": dependencies(entry),
        "description": inspect.getdoc(plugin) or "",
        "config": [_field(plugin.Config.model_json_schema(), name, plugin) for name in plugin.Config.model_fields],
        "example": _example(plugin),
    }


def _source(entry: Installed) -> str:
    return str(Path(inspect.getfile(entry.plugin)).parent)


def _field(schema: dict[str, Any], name: str, plugin: Any) -> dict[str, str]:
    field = plugin.Config.model_fields[name]
    default = field.get_default(call_default_factory=True)
    shown = schema["properties"][name]
    bounds = [f"{word} {shown[key]}" for key, word in _BOUNDS.items() if key in shown]
    if "enum" in shown:
        bounds.append("one of " + ", ".join(str(value) for value in shown["enum"]))
    return {
        "key": name,
        "type": _type(field.annotation),
        "default": "required" if default is PydanticUndefined else _shown(default),
        "bounds": ", ".join(bounds),
        "meaning": " ".join((field.description or "").split()),
    }


_BOUNDS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


def _type(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


def _shown(default: Any) -> str:
    text = yaml.safe_dump(_plain(default), default_flow_style=True).removesuffix("\n...\n").strip()
    return text if len(text) <= 60 else text[:57] + "..."


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple | set | frozenset) else value


def _example(plugin: Any) -> str:
    defaults = {name: field.get_default(call_default_factory=True) for name, field in plugin.Config.model_fields.items()}
    known = {name: "…" if value is PydanticUndefined else _plain(value) for name, value in defaults.items()}
    return yaml.safe_dump({"use": plugin.name, "with": known}, sort_keys=False, allow_unicode=True)
