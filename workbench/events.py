"""Lifecycle events: what happened to a run, as frozen records that a journal keeps and trackers receive."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

ContentKind = Literal["table", "chart", "text"]
Alert = Literal["not-finite", "training", "warning", "stall", "late"]
"""A NaN or infinite number; training ended because of its loss or weights; a plugin's warning; no sign of progress; longer
than predicted."""


@dataclass(frozen=True)
class Artifact:
    """An input or output of a stage."""

    flow: str
    """The stage's name for it, such as ``model`` or ``out``."""
    path: str
    """Path relative to the workspace."""
    format: str
    """The artifact format, such as ``corpus``."""
    digest: str = ""
    """Its DVC hash; empty while unknown."""
    rows: int | None = None
    size: int | None = None
    """Bytes."""
    columns: dict[str, str] = field(default_factory=dict)
    """Column names and types, for tables."""

    def row(self) -> dict[str, object]:
        """Return it as a row of a table."""
        return {
            "flow": self.flow,
            "path": self.path,
            "format": self.format,
            "rows": self.rows,
            "bytes": self.size,
            "DVC hash": self.digest,
        }


@dataclass(frozen=True)
class Event:
    """Base of all events."""

    run: str
    """Identifies one execution of one stage: the name of its journal."""
    time: float
    """Seconds since the epoch."""


@dataclass(frozen=True)
class StageStarted(Event):
    """A stage process begins."""

    session: str
    """Identifies the ``dvc repro`` that the stage belongs to."""
    stage: str
    entry: str
    """Key of the stage in plugins-lock.json."""
    kind: str
    plugin: str
    seed: int
    pid: int
    process_started: float
    """:func:`workbench.lib.processes.process_start` of ``pid``, to recognise a reused pid."""
    config: dict[str, object]
    lock: dict[str, object]
    """The stage's entry in plugins-lock.json."""
    inputs: list[Artifact]
    fingerprint: str
    """Hash of everything that decides the outputs: lock entry, input digests, machine."""
    machine: dict[str, object]
    command: str
    directory: str
    """The workspace the stage runs in, which `dvc exp run --temp` moves."""
    experiment: str = ""
    """DVC's experiment name, if any."""
    resumed_from: str = ""
    """The checkpoint that training continues from, if any."""
    passed_over: list[str] = field(default_factory=list)
    """Newer checkpoints that were skipped, each with its problem."""
    reproduces: str = ""
    """The tracker's name for the run that this one repeats, if any."""
    reasons: list[str] = field(default_factory=list)
    """What has changed since the previous result, in words; empty for a run that repeats another."""
    guard: int = 0
    """The process that records the end of ``pid`` if ``pid`` cannot; 0 if there is none."""
    guard_started: float = -1.0


@dataclass(frozen=True)
class MetricsLogged(Event):
    """Numbers of one step, or of the stage when ``step`` is None."""

    values: dict[str, float]
    step: int | None = None


@dataclass(frozen=True)
class AlertRaised(Event):
    """Something that needs attention while the stage runs or as it ends."""

    name: Alert
    message: str


@dataclass(frozen=True)
class ArtifactLogged(Event):
    """A table, picture or text for people; its content is a file beside the journal."""

    name: str
    title: str
    content: ContentKind
    file: str
    """Path relative to the journal's directory: .json for tables and charts, .md for texts."""


@dataclass(frozen=True)
class GenerationLogged(Event):
    """A text that a model generated."""

    prompt: str
    output: str
    tokens: int
    seconds: float
    score: float | None = None


@dataclass(frozen=True)
class ArtifactCommitted(Event):
    """An output is complete and valid at its final path."""

    artifact: Artifact


@dataclass(frozen=True)
class StageFinished(Event):
    """The stage ended well."""

    metrics: dict[str, float]
    seconds: float
    peak_memory: int
    """Peak resident memory, bytes."""
    libraries: dict[str, object] = field(default_factory=dict)
    """Build and runtime settings of the numerical libraries it had loaded."""


@dataclass(frozen=True)
class StageFailed(Event):
    """The stage ended with an error; nothing was committed."""

    status: Literal["FAILED", "KILLED"]
    error: str
    traceback: str = ""


@dataclass(frozen=True)
class OutputsHashed(Event):
    """DVC has hashed the outputs of a stage that ended well; not sent where DVC did not run the stage."""

    outputs: dict[str, str]
    """Path → DVC hash."""


ReproductionVerdict = Literal["BIT-EXACT", "WITHIN-TOLERANCE", "DIVERGED", "INPUTS-CHANGED", "CANNOT-RUN"]


@dataclass(frozen=True)
class StageReproduced(Event):
    """The outputs of this run were compared with those of the run it repeats."""

    original: str
    """The tracker's name for that run."""
    verdict: ReproductionVerdict
    reason: str
    """One line: where they differ first, or why the stage could not be repeated."""
    report: str
    """Markdown."""


@dataclass(frozen=True)
class StageRestored:
    """DVC used an earlier result instead of running the stage."""

    session: str
    stage: str
    fingerprint: str
    """Empty where only the hashes of the outputs are known."""
    outputs: dict[str, str]
    """Path → DVC hash."""
    state: Literal["restored", "unchanged"] = "unchanged"
    """``restored``: its entry in dvc.lock changed, so DVC took it from the run cache; ``unchanged``: nothing was stale."""
    moved: list[str] = field(default_factory=list)
    """Plugins whose code has changed since it made the result, which the stage's policy kept."""


@dataclass(frozen=True)
class SessionStarted:
    """A ``dvc repro`` that runs or restores at least one stage."""

    session: str
    time: float
    directory: str
    commit: str
    """HEAD, empty outside git. In ``dvc exp run`` it is the commit that the experiment started from."""
    dirty: bool
    experiment: str = ""
    command: str = ""
    """The command line, such as ``dvc repro sft``."""
    branch: str = ""
    remote: str = ""
    """URL of the git remote, without credentials."""
    stages: list[str] = field(default_factory=list)
    """DVC's names of the pipeline's stages, in order; empty if dvc.yaml cannot be read."""
    files: dict[str, str] = field(default_factory=dict)
    """Name → absolute path of what the session started from: params.yaml, the diff to the commit, …"""


@dataclass(frozen=True)
class SessionFinished:
    """The ``dvc repro`` has ended and its journals are drained."""

    session: str
    time: float
    status: Literal["FINISHED", "FAILED", "KILLED"]
    files: dict[str, str] = field(default_factory=dict)
    """Name → absolute path of what the session made: dvc.lock as it stood then, …"""
    error: str = ""
    """Why stages did not begin; empty if all did. Stages that began report in their own runs."""


AnyEvent = (
    StageStarted
    | MetricsLogged
    | AlertRaised
    | ArtifactLogged
    | GenerationLogged
    | ArtifactCommitted
    | StageFinished
    | StageFailed
    | OutputsHashed
    | StageReproduced
    | StageRestored
    | SessionStarted
    | SessionFinished
)
"""What a journal holds.

To add an event, write its class, name it here, describe its hook in :class:`workbench.hookspecs.TrackerHooks`, and send it.
Journals, the watcher and the conformance tests of trackers know it from here.
"""


def hook_name(event: type[AnyEvent]) -> str:
    """The tracker hook that receives an event: ``stage_started`` for :class:`StageStarted`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", event.__name__).lower()
