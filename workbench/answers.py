"""What trackers answer: past runs, records of a run, versions of a registered model.

The hooks that ask are those of :class:`workbench.hookspecs.TrackerHooks`.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WORK_METRIC = "system/cost_work."
"""Prefix of the metric of a run that holds its amount of work; the unit follows."""
MEMORY_METRIC = "system/cost_memory"
SECONDS_METRIC = "system/cost_seconds"
STARTUP_METRIC = "system/cost_startup_seconds"
PREDICTED_METRIC = "system/cost_predicted_seconds"
"""MLflow shows metrics with this prefix among the system metrics; with any other they would appear above the run's curves."""
RUNS = 10
"""How many of the newest runs count."""
CANDIDATE, CHAMPION = "candidate", "champion"
"""Aliases of a registered model's versions."""
UNRECORDED = "unrecorded"
"""Placeholder for the repeated run when no store knows it."""
RESULTS_LOCK = "results.lock"
"""File of a session: dvc.lock as it stood at its end."""
RESULTS_TEXTS = "results.json"
"""File of a session: path → content of the small outputs that DVC leaves to git."""
DIFF = "changes.diff"
"""File of a session: the patch that turns its commit into the source that ran."""


@dataclass(frozen=True)
class PastRun:
    """One finished run of a plugin, as a tracker knows it."""

    seconds: float
    work: float
    """From the plugin's ``estimate`` at the time; 0 if it gave none."""
    unit: str
    startup: float = 0
    """Seconds before the first unit of work: imports, loading."""
    memory: float = 0
    """Memory estimated at the time, in bytes; 0 if none was."""
    peak_memory: float = 0
    """Peak memory, in bytes."""


@dataclass(frozen=True)
class RecordedStage:
    """A stage as it ran in the past."""

    stage: str
    """DVC's name for it."""
    command: str
    """``python -m workbench run ENTRY --FLOW PATH …``."""
    lock: Mapping[str, Any]
    """Its entry in plugins-lock.json."""
    inputs: Mapping[str, str]
    """Path → DVC hash."""
    outputs: Mapping[str, str]
    """Path → DVC hash, the metrics file included."""
    run: str = ""
    """The store's name for its run; empty if only the session's dvc.lock mentions it."""
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def entry(self) -> str:
        """Its key in params.yaml."""
        words = shlex.split(self.command)
        return words[words.index("run") + 1]

    @property
    def kind(self) -> str:
        """The kind of its plugin."""
        return str(self.lock["kind"])

    @property
    def words(self) -> list[str]:
        """The words of the command after the entry: ``--FLOW PATH …``."""
        words = shlex.split(self.command)
        return words[words.index("run") + 2 :]

    @property
    def metrics_file(self) -> str:
        """Path of its metrics; empty if it writes none."""
        return next((path for flag, path in zip(self.words[::2], self.words[1::2], strict=True) if flag == "--metrics"), "")


@dataclass(frozen=True)
class Circumstances:
    """What is needed to judge another result of a stage."""

    machine: Mapping[str, Any] = field(default_factory=dict)
    """Fingerprint of the machine it ran on; empty if no run records it."""
    noise: Mapping[str, float] = field(default_factory=dict)
    """Metric → standard deviation over runs that differ only in the seed; given only if there are at least three."""


@dataclass(frozen=True)
class Record:
    """A run of the store and the session that it belongs to."""

    name: str
    """What the store shows for people."""
    stages: Sequence[RecordedStage]
    """For a stage's run, that stage; for a session's, every stage in pipeline order."""
    is_one_run: bool
    """Whether this is the run of a stage rather than of a session."""
    commit: str
    """Empty outside git."""
    dirty: bool
    session: str
    """The store's name for the session's run; empty if it is not in the store."""
    files: Path
    """Folder with the session's files: params.yaml, dvc.yaml, environment.txt, …"""

    def file(self, name: str) -> Path | None:
        """One of the session's files, whatever suffix the store gave it for previews; None if it was not kept."""
        return kept_file(self.files, name)


def kept_file(folder: Path, name: str) -> Path | None:
    """One of a session's files in the folder that a store was asked to fill; see :meth:`Record.file`."""
    return next((path for path in (folder / name, folder / f"{name}.txt") if path.is_file()), None)


@dataclass(frozen=True)
class Evaluated:
    """The result of an evaluation of a model."""

    name: str
    """Its key below ``eval`` in params.yaml."""
    conditions: str
    """Digest of what decides the result besides model and code: plugin, configuration, seed and data."""
    digest: str
    """Its DVC hash."""


@dataclass(frozen=True)
class Version:
    """A version of the registered model, as a tracker's store has it."""

    model: str
    number: str
    digest: str
    """DVC's hash of the model."""
    aliases: frozenset[str]
    evaluations: Sequence[Evaluated]
    """Newest first."""
    crowned: float | None = None
    """When it was promoted, in seconds since the epoch; None if it never was or was rolled back."""
    before: str = ""
    """Number of the version that was champion when it was promoted; empty if there was none."""

    def __str__(self) -> str:
        return f"version {self.number} of {self.model} ({self.digest[:8]})"
