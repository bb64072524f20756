"""Normal forms of text, for comparing it."""

from __future__ import annotations

import re

_DIGIT = re.compile(r"\d")
_NO_WORD = re.compile(r"[\W_]+")


def fold(text: str, *, digits: bool) -> str:
    """Lower case, digits as 0 unless they count, everything else but letters as one blank."""
    kept = text if digits else _DIGIT.sub("0", text)
    return _NO_WORD.sub(" ", kept.casefold()).strip()
