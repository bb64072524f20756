"""One side of a comparison: a run of the store, a git revision, a DVC experiment or the workspace."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from workbench.answers import RecordedStage
from workbench.artifacts import dvc_lock, unreadable
from workbench.comparison import staleness
from workbench.errors import WorkbenchError
from workbench.hosting import trackers
from workbench.lib import git
from workbench.lib.layout import LOCK_FILE
from workbench.planning import causes
from workbench.project.dvc.workspace import revision
from workbench.records import provenance

WORKSPACE = "workspace"
"""Name for the files as they are now."""


@dataclass(frozen=True)
class Side:
    """What is known about one side."""

    name: str
    """Display name."""
    stages: Mapping[str, RecordedStage]
    """By DVC's name, in pipeline order."""
    is_one_run: bool = False
    """Whether it is the run of one stage rather than a pipeline, which may also have one stage."""
    parts: causes.Parts = field(default_factory=dict)
    pins: Mapping[str, str] = field(default_factory=dict)
    """Distribution → version; empty if no session recorded them."""
    stale: staleness.Stale = field(default_factory=dict)
    """Of its stages, those whose results its files no longer ask for, and why."""
    unknown: str = ""
    """Why it cannot be known what is stale."""


def find(main: Path, word: str, into: Path) -> Side:
    """Resolve a word: ``workspace``, a revision or experiment known to git or DVC, or a run of the store.

    Args:
        main: the workspace.
        word: as the user wrote it.
        into: new folder for the files of a run.

    Raises:
        WorkbenchError: nothing is known under that name.
    """
    if word == WORKSPACE:
        side = replace(_of_files(word, _Disk(main)), pins=provenance.pins().releases)
        return _with_stale(side, lambda: staleness.of_workspace(main, dvc_lock.stages(main)))
    commit = revision(main, word)
    if commit:
        files = _Commit(main, commit)
        side = _of_files(word if commit.startswith(word) else f"{word} ({commit[:7]})", files)
        into.mkdir(parents=True, exist_ok=True)
        locked = dvc_lock.parse(files.read(str(dvc_lock.FILE)))
        return _with_stale(side, lambda: staleness.of_commit(files.read, locked, into / "pipeline"))
    return _of_run(main, word, into)


@dataclass(frozen=True)
class _Disk:
    """Files of the workspace."""

    root: Path

    def read(self, path: str) -> str:
        file = self.root / path
        return file.read_text(encoding="utf-8") if file.is_file() else ""


@dataclass(frozen=True)
class _Commit:
    """Files of a commit."""

    root: Path
    commit: str

    def read(self, path: str) -> str:
        done = git.call(self.root, "show", f"{self.commit}:./{path}")
        return done.stdout if done.returncode == 0 else ""


def _of_files(name: str, files: _Disk | _Commit) -> Side:
    locked = dvc_lock.parse(files.read(str(dvc_lock.FILE)))
    if not locked:
        fix = "run `dvc repro` there first, or name another revision"
        raise WorkbenchError("there is no result to compare", f"{name}, {dvc_lock.FILE}", fix)
    stages = {}
    for stage, record in locked.items():
        entries = record.get("params", {}).get(str(LOCK_FILE), {})
        if len(entries) == 1:
            (entry,) = entries.values()
            found = RecordedStage(stage, record["cmd"], entry, dvc_lock.hashes(record, "deps"), dvc_lock.hashes(record, "outs"))
            text = files.read(found.metrics_file) if found.metrics_file else ""
            stages[stage] = replace(found, metrics=json.loads(text)) if text else found
    return Side(name, stages, parts=_parts(files.read(str(LOCK_FILE))))


def _with_stale(side: Side, find: Callable[[], staleness.Stale]) -> Side:
    try:
        return replace(side, stale=find())
    except WorkbenchError as error:
        return replace(side, unknown=error.what)


def _of_run(main: Path, word: str, into: Path) -> Side:
    if (found := trackers.recorded(main, word, into)) is not None:
        lock, pins = (_read(found.file(name)) for name in (str(LOCK_FILE), provenance.ENVIRONMENT_FILE))
        stages = {stage.stage: stage for stage in found.stages}
        name = f"{found.name} ({word[:8]})"
        return Side(name, stages, found.is_one_run, _parts(lock), provenance.read_pins(pins).releases)
    asked = ", ".join(trackers.names(main)) or "any tracker"
    what = f"{word!r} is not a git revision, a DVC experiment, or a run of {asked}"
    fix = "`git log`, `dvc exp show` and `workbench ui` list them; the files as they are now are `workspace`"
    raise WorkbenchError(what, "workbench compare", fix)


def _read(file: Path | None) -> str:
    return file.read_text(encoding="utf-8") if file else ""


def _parts(content: str) -> causes.Parts:
    try:
        lock = json.loads(content or "null")
    except ValueError as error:
        what, fix = unreadable.explain(LOCK_FILE.name, content, f"not JSON: {error}", "`workbench resolve` writes it anew")
        raise WorkbenchError(what, str(LOCK_FILE), fix) from error
    return causes.parts_of([lock] if lock else [])
