"""A stage's lock entry as hyperparameters: flat, with the names that params.yaml uses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from workbench import redaction

_NOT_CHOSEN = ("plugins", "external", "moved")
"""Keys of a lock entry that are found out, not chosen."""


def of_entry(lock: Mapping[str, object]) -> dict[str, bool | float | str]:
    """``use``, ``seed``, ``with.learning_rate``, ``filters.0.use`` …; numbers stay numbers, secrets are hidden."""
    return dict(_flat({name: value for name, value in lock.items() if name not in _NOT_CHOSEN}, ""))


def _flat(content: Mapping[str, object], prefix: str) -> Iterator[tuple[str, bool | float | str]]:
    for key, value in content.items():
        name = prefix + ("with" if key == "config" else key)
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{name}.")
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            yield from _flat({str(place): item for place, item in enumerate(value)}, f"{name}.")
        elif isinstance(value, bool | int | float):
            yield name, value
        else:
            yield name, redaction.param(name, value if isinstance(value, str) else json.dumps(value))
