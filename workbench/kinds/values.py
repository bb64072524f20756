"""Values of a row: which are missing, which are text that can be stored, and why one cannot be used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

EMPTY = "empty-text"
"""For documents: a corpus may have any number of empty ones. Elsewhere a missing value makes a bad row."""
MISSING = "missing-value"


class UnusableRowError(ValueError):
    """A row's values cannot be used; the row is set apart."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason, self.detail = reason, detail


def is_missing(value: object) -> bool:
    """Whether a value says nothing: null, NaN (a null of pandas), white space, or an empty list or object."""
    if value is None:
        return True
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, float):
        return math.isnan(value)
    return isinstance(value, list | tuple | dict) and not value


def unpadded(value: Any) -> Any:
    """A value of a typed table without the nulls that fill its structs up: all have the fields that one of them has."""
    if isinstance(value, dict):
        return {key: unpadded(inner) for key, inner in value.items() if inner is not None}
    return [unpadded(item) for item in value] if isinstance(value, list) else value


def text_of(values: Mapping[str, Any], name: str, max_bytes: int, empty: str = MISSING) -> str:
    """The text of a column.

    Raises:
        UnusableRowError: there is no such column, the value is missing (for the reason ``empty``), or it can't be stored.
    """
    if name not in values:
        raise UnusableRowError("missing-column", f"no {name!r}")
    value = values[name]
    if is_missing(value):
        raise UnusableRowError(empty, f"no {name!r}")
    if not isinstance(value, str):
        raise UnusableRowError("not-text", f"{name!r} is {type(value).__name__}")
    return checked_text(value, max_bytes)


def text_or_number(values: Mapping[str, Any], name: str, max_bytes: int) -> str:
    """The text of a column that may hold finite numbers.

    Raises:
        UnusableRowError: as :func:`text_of`, or the number is infinite.
    """
    value = values.get(name)
    if isinstance(value, int | float) and not isinstance(value, bool) and not is_missing(value):
        if not math.isfinite(value):
            raise UnusableRowError("not-finite", f"{name!r} is {value}")
        return str(value)
    return text_of(values, name, max_bytes)


def checked_text(text: str, max_bytes: int) -> str:
    """The text, if it can be stored.

    Raises:
        UnusableRowError: it is empty, too long, not valid Unicode, or holds NUL characters as binary files do.
    """
    if not text.strip():
        raise UnusableRowError(EMPTY)
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise UnusableRowError("bad-utf8", f"at character {error.start}") from error
    if size > max_bytes:
        raise UnusableRowError("too-long", f"{size} bytes, max_record_bytes is {max_bytes}")
    if "\0" in text:
        raise UnusableRowError("nul-character", f"at character {text.index(chr(0))}")
    return text
