"""Names of distributions, and what requirements begin with."""

from __future__ import annotations

import re


def canonical(name: str) -> str:
    """A distribution's name as package indexes compare it (PEP 503): ``PyYAML`` → ``pyyaml``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_in(requirement: str) -> str:
    """The name that a requirement of PEP 508 begins with."""
    return re.split(r"[ ;<>=!~\[(@]", requirement, maxsplit=1)[0]
