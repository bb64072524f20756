"""The installed plugins, described for people and programs."""

from __future__ import annotations

import inspect
import json
import shutil
import textwrap
from collections.abc import Container, Iterator, Mapping, Sequence
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import yaml

from workbench.hosting.contract import declared
from workbench.hosting.host import Broken, Installed, Registry
from workbench.kinds.stage import OWN
from workbench.plugin import Plugin

Origin = Literal["editable", "wheel", "workspace"]
SLOW = 1.0
"""Seconds from which an import is reported as slow."""
SHOWN = 48
"""Characters of a default in the table."""


def rows(registry: Registry) -> list[dict[str, Any]]:
    """One record per plugin, by kind and name; then one per distribution that could not be loaded, with kind and name null.

    Keys: kind, name, distribution, version, source, path, import_seconds, health (``ok`` or what is wrong), where, fix.
    """
    listed = [_row(registry, entry) for entry in registry.installed]
    listed += [_broken_row(broken, registry.kinds) for broken in registry.broken]
    ranks = {kind: rank for rank, kind in enumerate(registry.kinds)}
    return sorted(listed, key=lambda row: (ranks.get(row["kind"], len(ranks)), row["name"] or "", row["distribution"]))


def lines(listed: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The records as text: a block per kind, a line per plugin."""
    for kind, group in groupby(listed, key=lambda row: row["kind"] or "could not be loaded"):
        yield kind
        for row in group:
            owner = f"{row['distribution']} {row['version']}"
            slow = f", imported in {row['import_seconds']:.1f} s" if row["import_seconds"] >= SLOW else ""
            yield f"  {row['name'] or '':22} {owner:48} {row['source']:10} {row['health']}{slow}".rstrip()
            for word in ("where", "fix"):
                if row[word]:
                    yield f"      {word + ':':6} {row[word]}"


def describe(registry: Registry, entry: Installed) -> dict[str, Any]:
    """Everything about a plugin.

    Keys: those of :func:`rows`, code (a digest), contract (the releases of the core that it is written for), dependencies,
    description, reads and writes (flow → format), config (see :func:`workbench.catalog.config_keys.describe`), example (YAML),
    and the file and place where the example belongs.
    """
    from workbench.catalog import config_keys, example
    from workbench.hosting import environment
    from workbench.hosting.identity import code_digest, dependencies

    plugin = entry.plugin
    return {
        **_row(registry, entry),
        "code": code_digest(entry.module)[:16],
        "contract": declared(metadata.requires(entry.distribution) or []),
        "dependencies": dependencies(entry, environment.versions([entry])),
        "description": inspect.getdoc(plugin) or "",
        "reads": dict(getattr(plugin, "inputs", {})),
        "writes": {flow: _written(plugin, format_) for flow, format_ in getattr(plugin, "outputs", {}).items()},
        "config": config_keys.describe(plugin.Config),
        **example.of_plugin(registry, plugin),
    }


def page(facts: Mapping[str, Any]) -> Iterator[str]:
    """The facts of :func:`describe` as text."""
    width = min(shutil.get_terminal_size((110, 24)).columns, 130)
    yield f"{facts['kind']} {facts['name']} · {facts['distribution']} {facts['version']} · {facts['source']}, {facts['path']}"
    if facts["health"] != "ok":
        yield f"{facts['health']}; {facts['fix']}"
    yield f"\n{facts['description']}\n"
    for word in ("reads", "writes"):
        if facts[word]:
            yield f"{word:6} " + ", ".join(f"{flow} ({format_})" for flow, format_ in facts[word].items())
    yield ""
    yield from _table(facts["config"], width)
    yield f"\nIn {facts['file']}{facts['place'] and ', ' + facts['place']}:\n"
    yield textwrap.indent(facts["example"], "    ")


def _written(plugin: type[Plugin[Any]], format_: str) -> str:
    """The format of an output; a source's is fixed by the class or depends on its configuration."""
    produces = getattr(plugin, "produces", None)
    return format_ if format_ != OWN else produces if isinstance(produces, str) else "as configured"


def _row(registry: Registry, entry: Installed) -> dict[str, Any]:
    owners = [f"{other.distribution} {other.version}" for other in registry.installed if other.key == entry.key]
    is_only = len(owners) == 1
    source, path = _origin(entry)
    return {
        "kind": entry.plugin.kind,
        "name": entry.plugin.name,
        "distribution": entry.distribution,
        "version": entry.version,
        "source": source,
        "path": str(path),
        "import_seconds": round(entry.import_seconds, 3),
        "health": "ok" if is_only else f"offered by {' and '.join(owners)}",
        "where": "",
        "fix": "" if is_only else "uninstall one of them",
    }


def _broken_row(broken: Broken, kinds: Container[str]) -> dict[str, Any]:
    known = broken.kind in kinds and broken.name
    return {
        "kind": broken.kind if known else None,
        "name": broken.name if known else None,
        "distribution": broken.distribution,
        "version": broken.version,
        "source": "",
        "path": "",
        "import_seconds": 0.0,
        "health": broken.error,
        "where": broken.where,
        "fix": broken.fix,
    }


def _origin(entry: Installed) -> tuple[Origin, Path]:
    """How the code was installed, and where it is. A workspace's own folder takes precedence over installed code."""
    file = Path(inspect.getfile(entry.plugin)).resolve()
    installed = metadata.distribution(entry.distribution)
    record = json.loads(installed.read_text("direct_url.json") or "{}")
    if record.get("dir_info", {}).get("editable"):
        folder = Path(unquote(urlsplit(record["url"]).path)).resolve()
        return ("editable" if file.is_relative_to(folder) else "workspace"), file.parent
    site = Path(str(installed.locate_file(""))).resolve()
    return ("wheel" if file.is_relative_to(site) else "workspace"), file.parent


def _table(config: Sequence[Mapping[str, Any]], width: int) -> Iterator[str]:
    if not config:
        yield "It takes no configuration."
        return
    cells = [("key", "type", "default", "bounds"), *((row["key"], row["type"], _shown(row), row["bounds"]) for row in config)]
    widths = [min(max(len(line[column]) for line in cells), limit) for column, limit in enumerate((40, 36, SHOWN, 0))]
    for line, row in zip(cells, [None, *config], strict=True):
        yield "  ".join(cell.ljust(wide) for cell, wide in zip(line, widths, strict=True)).rstrip()
        if row is not None:
            yield textwrap.fill(row["meaning"], width, initial_indent="      ", subsequent_indent="      ")


def _shown(row: Mapping[str, Any]) -> str:
    if row["required"]:
        return "required"
    if row["type"] == "section" and row["default"] is not None:
        return ""  # its keys follow
    first = _yaml(row["default"])
    if row["default"] == row["default_in_section"]:
        return first
    return f"{first}; in a written section {_yaml(row['default_in_section'])}"


def _yaml(value: object) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6).removesuffix("\n...\n").strip()
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
