"""What a distribution may add besides plugins: kinds and formats."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any

from workbench.artifacts.formats import Format
from workbench.errors import PluginError
from workbench.hosting.contract import NAME, Kinds, base_of, place
from workbench.kinds.stage import OWN, Stage
from workbench.plugin import Plugin

RESERVED = frozenset({"models"})
"""Top-level keys of params.yaml that are not sections: only dvc.yaml reads them."""

_SECTION = re.compile(r"[A-Za-z0-9]+([_-][A-Za-z0-9]+)*")
"""Addresses of entries are split at dots."""


def require_kind(base: object, kinds: Kinds, formats: Container[str]) -> None:
    """Refuse the base class of a kind that a distribution may not add.

    Args:
        base: what the distribution offers as a kind.
        kinds: the kinds offered so far.
        formats: the names of all formats.

    Raises:
        PluginError: says what is wrong, in which file and line, and how to fix it.
    """
    if not (isinstance(base, type) and issubclass(base, Plugin) and base_of(base) is base):
        fix = "return subclasses of workbench.kinds.stage.Stage, or of workbench.plugin.Plugin, that set `kind`"
        raise PluginError(f"{base!r} is not the base class of a kind", place(base), fix)
    if not isinstance(base.kind, str) or not NAME.fullmatch(base.kind):
        raise PluginError(f"kind is {base.kind!r}", place(base, "kind"), "use letters, digits and single hyphens")
    if not vars(base).get("__doc__"):
        raise PluginError(f"kind {base.kind!r} has no docstring", place(base), "say what its plugins do under the class line")
    if base.kind in kinds:
        what = f"the kind {base.kind!r} is there already: {place(kinds[base.kind])}"
        raise PluginError(what, place(base, "kind"), "give it another name")
    if issubclass(base, Stage):
        _require_stage_kind(base, kinds, formats)


def require_format(found: object, formats: Container[str]) -> None:
    """Refuse a format that a distribution may not add.

    Raises:
        PluginError: it is not a Format, or its name is malformed or taken.
    """
    if not isinstance(found, Format):
        raise PluginError(
            f"{found!r} is no format", type(found).__name__, "return instances of workbench.artifacts.formats.Format"
        )
    if not NAME.fullmatch(found.name):
        raise PluginError(f"format {found.name!r}", place(found.validate), "name it by letters, digits and single hyphens")
    if found.name in formats:
        raise PluginError(f"the format {found.name!r} is there already", place(found.validate), "give it another name")


def require_formats(plugin: type[Plugin[Any]], formats: Container[str]) -> None:
    """Refuse a stage that reads or writes a format which no distribution offers.

    Raises:
        PluginError: names the formats.
    """
    names = format_names(plugin) if issubclass(plugin, Stage) else set()
    if unknown := sorted(name for name in names if name not in formats):
        fix = "correct the name, or offer the format by the hook `workbench_formats`"
        raise PluginError(f"{plugin.__qualname__} reads or writes {', '.join(unknown)}, no known format", place(plugin), fix)


def format_names(stage: type[Stage[Any]]) -> set[str]:
    """The formats of a stage's inputs and outputs, except those that only an instance knows."""
    return {*stage.inputs.values(), *stage.outputs.values()} - {OWN}


def _require_stage_kind(base: type[Stage[Any]], kinds: Kinds, formats: Container[str]) -> None:
    for name in ("section", "inputs", "outputs"):
        if not hasattr(base, name):
            what = f"kind {base.kind!r} is a stage and sets no `{name}`"
            raise PluginError(
                what, place(base), f"set `{name}` on class {base.__qualname__}, as workbench.kinds.stage.Stage says"
            )
    if not _SECTION.fullmatch(base.section) or base.section in RESERVED:
        what, fix = (
            f"section is {base.section!r}",
            f"name it by letters, digits and hyphens, and not {', '.join(sorted(RESERVED))}",
        )
        raise PluginError(what, place(base, "section"), fix)
    for other in kinds.values():
        if getattr(other, "section", None) == base.section:
            what = f"the section {base.section!r} of params.yaml belongs to the kind {other.kind!r}"
            raise PluginError(what, place(base, "section"), "name another section")
    require_formats(base, formats)
