"""A stage's lock entry as MLflow params: flat, with the names that params.yaml uses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from workbench import redaction
from workbench_tracker_mlflow import tags

if TYPE_CHECKING:
    from mlflow.entities import Param

LONGEST = 6_000
_CUT = " … (cut; lock_entry.json has it whole)"
_NOT_CHOSEN = ("plugins", "external", "moved")
"""Keys of a lock entry that are found out, not chosen."""


def of_entry(lock: Mapping[str, Any]) -> list[Param]:
    """``use``, ``seed``, ``with.learning_rate``, ``filters.0.use`` …; secrets hidden, long values cut visibly."""
    from mlflow.entities import Param

    chosen = {("with" if name == "config" else name): value for name, value in lock.items() if name not in _NOT_CHOSEN}
    return [Param(tags.key(name), _cut(redaction.param(name, value))) for name, value in _flat("", chosen)]


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            shown = "with" if name == "config" and prefix else name
            yield from _flat(f"{prefix}.{shown}" if prefix else str(shown), inner)
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        for i, item in enumerate(value):
            yield from _flat(f"{prefix}.{i}", item)
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value)


def _cut(value: str) -> str:
    return value if len(value) <= LONGEST else value[: LONGEST - len(_CUT)] + _CUT
