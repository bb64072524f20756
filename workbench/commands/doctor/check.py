"""What a check says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """One line of the doctor's."""

    name: str
    """What was looked at, in one or two words."""
    status: Status
    """``fail``: a command will not work, or a result is in danger. ``warn``: it works, perhaps not as one thinks."""
    what: str
    fix: str = ""
    """What to run or change; empty where nothing needs it."""
