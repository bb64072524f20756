"""Keeps credentials out of the trackers' stores."""

from __future__ import annotations

import re
from collections.abc import Mapping

HIDDEN = "(redacted)"
_SECRET_NAME = re.compile(r"(^|[._-])(token|secret|password|passwd|api[_-]?key|access[_-]?key|credentials?)$", re.IGNORECASE)
_SECRET_VALUE = re.compile(
    r"\b(hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|sk-[\w-]{20,}|AKIA[A-Z0-9]{16})\b"
)
_URL_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")
_ASSIGNED = re.compile(r"(?i)\b((?:[\w.]*[._-])?(?:token|secret|password|passwd|api[_-]?key|access[_-]?key))([=:]\s*)(\S+)")


def text(value: str) -> str:
    """The text without credentials in URLs, well-known kinds of access tokens, and ``password=…``."""
    value = _URL_CREDENTIALS.sub("", value)
    value = _SECRET_VALUE.sub(HIDDEN, value)
    return _ASSIGNED.sub(rf"\1\2{HIDDEN}", value)


def param(name: str, value: str) -> str:
    """A parameter's value, hidden when its name says that it is a secret."""
    return HIDDEN if _SECRET_NAME.search(name) and value not in ("", "null", "None") else text(value)


def tree(value: object, name: str = "") -> object:
    """A record with every secret in it hidden, whatever its depth."""
    if isinstance(value, Mapping):
        return {key: tree(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [tree(item, name) for item in value]
    return param(name, value) if isinstance(value, str) else value
