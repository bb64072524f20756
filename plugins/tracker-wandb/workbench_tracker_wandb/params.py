"""A stage's lock entry as the config of a run: nested, with the names that params.yaml uses."""

from __future__ import annotations

from collections.abc import Mapping

_NOT_CHOSEN = ("plugins", "external", "moved")
"""Keys of a lock entry that are found out, not chosen."""


def of_entry(lock: Mapping[str, object]) -> dict[str, object]:
    """``use``, ``seed``, ``with`` …; W&B shows them as ``with.learning_rate`` and ``filters.0.use``."""
    return _named({name: value for name, value in lock.items() if name not in _NOT_CHOSEN})


def _named(content: Mapping[str, object]) -> dict[str, object]:
    return {"with" if key == "config" else key: _value(value) for key, value in content.items()}


def _value(value: object) -> object:
    """W&B makes columns of what lies in mappings, not of what lies in lists."""
    if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        value = {str(place): item for place, item in enumerate(value)}
    return _named(value) if isinstance(value, Mapping) else value
