"""Names of distributions."""

from __future__ import annotations

import re


def canonical(name: str) -> str:
    """A distribution's name as package indexes compare it (PEP 503): ``PyYAML`` → ``pyyaml``."""
    return re.sub(r"[-_.]+", "-", name).lower()
