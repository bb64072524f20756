"""The result of a check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report."""

    name: str
    """The subject of the check, in one or two words."""
    status: Status
    """``fail``: a command will not work, or a result is at risk. ``warn``: it works, but perhaps not as expected."""
    what: str
    fix: str = ""
    """What to run or change; empty if nothing needs fixing."""
