"""A test's task for a child process, and the process's report: two JSON files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from workbench.testing.watch import Way


@dataclass(frozen=True)
class Attempt:
    """One run of the plugin."""

    name: str
    folder: Path
    """Holds ``out``, ``scratch`` and ``checkpoints`` of this run."""
    inputs: Mapping[str, Path]
    config: Mapping[str, Any]
    seed: int
    killed: bool = False
    """Whether the process is to be killed in the middle of it."""
    watched: bool = False
    """Whether accesses to files are watched during it."""
    evaluated: bool = False
    """Whether the output is a model that must be fit for evaluation."""


@dataclass
class AttemptOutcome:
    """How one attempt ended."""

    name: str
    error: str = ""
    """Class and message of what was raised, empty if nothing was."""
    expected: bool = False
    """Whether that was a WorkbenchError."""
    traceback: str = ""
    unfit: str = ""
    """Why the model that it wrote cannot be evaluated."""
    cpu_seconds: float = 0.0
    beats: int = 0
    """How often the plugin reported its progress."""
    middle: int | None = None
    """The sign of progress at which another run of it would be killed."""
    accesses: list[tuple[Way, str]] = field(default_factory=list)
    """What was read, written or connected to outside of what is declared."""


@dataclass(frozen=True)
class Task:
    """What a child process does."""

    plugin: str
    """``module:qualified.name`` of the plugin's class."""
    parts: Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]]
    """Key → further plugins with their configurations."""
    attempts: Sequence[Attempt]
    report: Path
    watched: bool
    reads: Sequence[str]
    writes: Sequence[str]
    origins: Sequence[str]
    """Folders of the code under test."""

    def write(self, file: Path) -> None:
        """Store it as JSON."""
        file.write_text(json.dumps(asdict(self), default=str), encoding="utf-8")

    @classmethod
    def read(cls, file: Path) -> Task:
        """Read what :meth:`write` stored."""
        content = json.loads(file.read_text(encoding="utf-8"))
        attempts = [
            Attempt(
                **{
                    **attempt,
                    "folder": Path(attempt["folder"]),
                    "inputs": {flow: Path(path) for flow, path in attempt["inputs"].items()},
                }
            )
            for attempt in content["attempts"]
        ]
        return cls(**{**content, "attempts": attempts, "report": Path(content["report"])})

    def add(self, outcome: AttemptOutcome) -> None:
        """Append an outcome to the report, at once: the process may be killed in the next attempt."""
        with self.report.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")

    def outcomes(self) -> dict[str, AttemptOutcome]:
        """The outcomes that were reported, by the attempts' names."""
        if not self.report.exists():
            return {}
        lines = self.report.read_text(encoding="utf-8").splitlines()
        return {found["name"]: AttemptOutcome(**found) for found in map(json.loads, lines)}
