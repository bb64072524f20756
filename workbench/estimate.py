"""What a stage is expected to cost, before it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DECIDES_NO_OUTPUT = True


@dataclass(frozen=True)
class Estimate:
    """The cost of one run of a stage, as far as its inputs and configuration reveal it."""

    work: float
    """Amount of work in ``unit``; after start-up, time is proportional to it, at a rate learnt from past runs."""
    unit: str
    """What is counted: ``tokens``, ``documents``, ``bytes``."""
    tokens: float = 0
    """Tokens that a model trains on or reads; 0 if none does."""
    flops: float = 0
    """Floating-point operations; 0 if unknown."""
    memory: float = 0
    """Peak memory in bytes; 0 if unknown."""


def size_of(paths: Mapping[str, Path]) -> int:
    """Total bytes below the paths; missing paths count as zero."""
    files = (file for path in paths.values() for file in ([path] if path.is_file() else path.rglob("*")))
    return sum(file.stat().st_size for file in files if file.is_file())
