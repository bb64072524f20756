"""Public names: ``numpy/linalg/_linalg.py`` defines what everyone calls ``numpy.linalg.svd``.

The imports of a package are followed statically from where a name is exported to where it is defined.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from workbench_source_pydocs.syntax import Entry, Module

Origin = tuple[str, str]
"""Defining module and top-level name."""


def is_private(dotted: str) -> bool:
    """Whether a component of a dotted name starts with an underscore."""
    return any(part.startswith("_") for part in dotted.split("."))


class Exports:
    """Which public modules of one package export which definition."""

    def __init__(self, modules: Iterable[Module]) -> None:
        self._modules: Mapping[str, Module] = {module.name: module for module in modules}
        self._imports = {name: {item.name: item for item in module.imports} for name, module in self._modules.items()}
        self._defined = {name: frozenset(module.defined) for name, module in self._modules.items()}
        self._names: dict[str, frozenset[str]] = {}
        self._public = self._shortest()

    def public_name(self, origin: Origin) -> str | None:
        """The shortest public dotted name under which a definition is exported, or None."""
        return self._public.get(origin)

    def origin(self, module: str, name: str, seen: frozenset[Origin] = frozenset()) -> Origin | None:
        """Where ``name``, as seen in ``module``, is defined. A module without a Python file counts as its definition."""
        if (module, name) in seen:
            return None
        seen = seen | {(module, name)}
        if module not in self._modules:
            return (module, name)
        if name in self._defined[module]:
            return (module, name)
        if (imported := self._imports[module].get(name)) is not None:
            return self.origin(imported.module, imported.original, seen)
        stars = self._modules[module].stars
        for star in stars:
            if star in self._modules and name in self.names(star):
                return self.origin(star, name, seen)
        # what comes from a compiled module is not listed anywhere, so the first Python module that has it stands for it
        return (module, name) if any(star not in self._modules for star in stars) else None

    def names(self, module: str) -> frozenset[str]:
        """What ``from module import *`` brings."""
        if module not in self._names:
            self._names[module] = frozenset()  # ends the recursion of modules that import each other
            self._names[module] = self._find_names(self._modules[module])
        return self._names[module]

    def _find_names(self, module: Module) -> frozenset[str]:
        if module.exported is not None:
            return frozenset(module.exported)
        found = {*self._defined[module.name], *self._imports[module.name]}
        for star in module.stars:
            if star in self._modules:
                found |= self.names(star)
        return frozenset(name for name in found if not name.startswith("_"))

    def _shortest(self) -> dict[Origin, str]:
        best: dict[Origin, str] = {}
        for module in sorted(self._modules):
            if is_private(module):
                continue
            for name in sorted(self._offered(module)):
                origin = self.origin(module, name)
                if origin is None:
                    continue
                candidate = f"{module}.{name}"
                known = best.get(origin)
                if known is None or (candidate.count("."), len(candidate)) < (known.count("."), len(known)):
                    best[origin] = candidate
        return best

    def _offered(self, module: str) -> frozenset[str]:
        """Names that a module means to offer: what another file merely imports for its own use is no export."""
        known = self._modules[module]
        if known.is_package or known.exported is not None:
            return frozenset(name for name in self.names(module) if not name.startswith("_"))
        return frozenset(name for name in self._defined[module] if not name.startswith("_"))


def public_names(modules: list[Module], private: bool) -> list[tuple[str, Entry]]:
    """Pair every documented object with the shortest name that its package exports, or else its full path.

    Names are unique, the order is that of the files.

    Args:
        modules: all files of one package in a fixed order.
        private: keep objects whose own name starts with an underscore.
    """
    exports = Exports(modules)
    found = {(entry.module, entry.qualname): entry for module in reversed(modules) for entry in reversed(module.entries)}
    entries = [entry for entry in reversed(found.values()) if private or not is_private(entry.qualname or entry.kind)]
    chosen: dict[str, Entry] = {}
    rest: list[Entry] = []
    for entry in entries:
        name = _exported(entry, exports)
        if name is None or name in chosen:
            rest.append(entry)
        else:
            chosen[name] = entry
    for entry in rest:
        name = f"{entry.module}.{entry.qualname}" if entry.qualname else entry.module
        if name not in chosen:
            chosen[name] = entry
    order = {id(entry): position for position, entry in enumerate(entries)}
    return sorted(chosen.items(), key=lambda item: order[id(item[1])])


def _exported(entry: Entry, exports: Exports) -> str | None:
    if not entry.qualname:
        return None if is_private(entry.module) else entry.module
    top, _, rest = entry.qualname.partition(".")
    origin = exports.origin(entry.module, top) or (entry.module, top)
    name = exports.public_name(origin)
    if name is None:
        return None
    return f"{name}.{rest}" if rest else name
