"""Does a text parse as sections of a docstring?"""

from __future__ import annotations

import re

_NAMES = "Parameters|Other Parameters|Attributes|Methods|Returns|Yields|Receives|Raises|Warns|See Also|Notes|References|Examples"
NUMPYDOC = re.compile(rf"^(?P<indent>[ ]*)(?:{_NAMES})\n(?P=indent)-{{3,}}\n(?:[ ]*\n)*(?P=indent)[ ]*\S", re.MULTILINE)
"""A heading of numpydoc, underlined at its own indentation, and a line of content at least as deep below it."""
_GOOGLE_NAMES = "Args|Arguments|Attributes|Returns|Yields|Raises|Examples?|Notes?"
GOOGLE = re.compile(rf"^(?P<indent>[ ]*)(?:{_GOOGLE_NAMES}):\n(?:[ ]*\n)*(?P=indent)[ ]+\S", re.MULTILINE)
"""A heading of Google's style and a line of content that is deeper."""


def has_docstring_section(text: str) -> bool:
    """Whether at least one section, numpydoc's or Google's, has a well-formed heading with content below it."""
    return bool(NUMPYDOC.search(text) or GOOGLE.search(text))
