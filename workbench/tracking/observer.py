"""Observes what stages cannot report: their death, DVC's hashes of their outputs, resource use, results from the cache.

Observations are events in journals of the observer's own, beside those of the stages, so that they outlive the
watcher, the workspace of ``dvc exp run --temp`` and a store that is down.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml

from workbench import events, redaction
from workbench.answers import DIFF, RESULTS_LOCK, RESULTS_TEXTS
from workbench.artifacts import digests, dvc_lock, yaml_1_2
from workbench.events import AnyEvent
from workbench.lib.layout import FILES_FOLDER, PIPELINE_COPY
from workbench.lib.processes import is_alive
from workbench.records import provenance, revision
from workbench.tracking import session as sessions
from workbench.tracking import standing
from workbench.tracking.feed import CLOSED, OBSERVED, OPENED, observed
from workbench.tracking.journal import encode, read_events
from workbench.tracking.sampler import Sampler
from workbench.tracking.session import Session, folder_of

_LATEST = "latest"
_RESULTS = "results"
_MADE = ("dvc.lock", "plugins-lock.json")
"""Files written by every repro and tracked by git, besides the outputs."""
_LARGEST_TEXT = 1 << 18
"""Bytes."""
_WATCHED_FOR = (events.StageStarted, events.StageFinished, events.StageFailed, events.OutputsHashed)
_CLOCK_SLACK = 0.05
"""Seconds by which a file's time may lie before the clock's, since kernels stamp files with a coarse clock."""


@dataclass
class Watched:
    """The observed state of one run of the session."""

    journal: Path
    offsets: dict[Path, int] = field(default_factory=dict)
    started: events.StageStarted | None = None
    status: Literal["RUNNING", "FINISHED", "FAILED", "KILLED"] = "RUNNING"
    ended: float = 0.0
    hashed: bool = False
    sampler: Sampler | None = None

    def read(self) -> None:
        """Read what is new in the run's journals."""
        for path in (self.journal, observed(self.journal)):
            while True:
                offset = self.offsets.get(path, 0)
                found, self.offsets[path] = read_events(path, offset, only=_WATCHED_FOR)
                for event in found:
                    self._take(event)
                if self.offsets[path] == offset:
                    break

    def _take(self, event: AnyEvent) -> None:
        if isinstance(event, events.StageStarted):
            self.started, self.status = event, "RUNNING"
        elif isinstance(event, events.StageFinished):
            self.status, self.ended = "FINISHED", event.time
        elif isinstance(event, events.StageFailed):
            self.status, self.ended = event.status, event.time
        elif isinstance(event, events.OutputsHashed):
            self.hashed = True

    def last_sign(self) -> float:
        """When it was last seen alive; a run that continues it starts later."""
        written = [path.stat().st_mtime for path in (self.journal, observed(self.journal)) if path.exists()]
        return max(self.started.time if self.started else 0.0, *written)

    def observe(self, event: AnyEvent) -> None:
        """Record an observation."""
        _append(observed(self.journal), event)


class Observer:
    """Watches the processes and the dvc.lock of one session."""

    def __init__(self, root: Path, session: Session) -> None:
        self._root, self._session = root, session
        self._folder = folder_of(root, session.id)
        self._runs: dict[Path, Watched] = {}
        self._lock_time = 0
        self._lock_seen = b""

    def look(self) -> None:
        """One round: read, then record deaths, hashes and samples; opens the session when it sees its first run.

        Nothing more is recorded of a closed session: dvc.lock may belong to a later one by now.
        """
        for path in self._folder.glob("[!_]*.jsonl"):
            if not path.name.endswith(OBSERVED):
                self._runs.setdefault(path, Watched(path))
        is_closed = (self._folder / CLOSED).exists()
        if not is_closed:
            self._keep_lock()
        for run in self._runs.values():
            run.read()
            if run.started is not None and not is_closed:
                self._record(run, run.started)
        # Which stages were restored is certain only once DVC has ended: see close.
        if not self.is_open() and (self._begun() or self._refused()):
            self._open()

    def journals(self) -> list[Path]:
        """The journals of the runs that have been seen."""
        return list(self._runs)

    def is_open(self) -> bool:
        """Whether a stage has run or been restored in this session."""
        return (self._folder / OPENED).exists()

    def is_over(self) -> bool:
        """Whether DVC and all its stages have ended."""
        return self._dvc_is_gone() and all(run.status != "RUNNING" for run in self._begun())

    def close(self) -> bool:
        """Record how the session ended. False if nothing worth recording happened in it."""
        if (self._folder / CLOSED).exists():
            return True
        self.look()
        if not self.is_open() and not self._has_restored():
            return False
        if not self.is_open():
            self._open()
        ended = max([run.ended for run in self._begun()], default=self._session.time)
        error = "\n".join(f"{stage}: {why}" for stage, why in self._refused().items())
        finished = events.SessionFinished(self._session.id, ended, self._status(), self._results(), error)
        closing: list[AnyEvent] = [*self._cached(), finished]
        scratch = self._folder / f"{CLOSED}.scratch"
        scratch.write_bytes(b"".join(encode(event) for event in closing))
        scratch.replace(self._folder / CLOSED)
        return True

    def _dvc_is_gone(self) -> bool:
        return not is_alive(self._session.pid, self._session.process_started)

    def _begun(self) -> list[Watched]:
        return [run for run in self._runs.values() if run.started is not None]

    def _record(self, run: Watched, started: events.StageStarted) -> None:
        if run.status == "RUNNING":
            if is_alive(started.pid, started.process_started):
                self._sample(run, started)
            elif not is_alive(started.guard, started.guard_started):
                self._record_death(run, started)
        elif run.status == "FINISHED" and not run.hashed:
            self._record_hashes(run, started)

    def _record_death(self, run: Watched, started: events.StageStarted) -> None:
        run.read()  # it may have written its end after we read and before it went
        if run.status != "RUNNING":
            return
        error = "its process disappeared: it was killed, or the machine went down"
        run.observe(events.StageFailed(started.run, run.last_sign(), "KILLED", error))
        run.read()

    def _record_hashes(self, run: Watched, started: events.StageStarted) -> None:
        lock = self._folder / _LATEST / "dvc.lock"
        if not self._session.by_dvc or not lock.exists() or lock.stat().st_mtime < run.ended - _CLOCK_SLACK:
            return
        stage = dvc_lock.stages(lock.parent).get(started.stage)
        if stage is not None:
            run.observe(events.OutputsHashed(started.run, time.time(), dvc_lock.hashes(stage, "outs")))
            run.read()

    def _sample(self, run: Watched, started: events.StageStarted) -> None:
        run.sampler = run.sampler or Sampler(started.pid)
        values = run.sampler.sample()
        if values:
            run.observe(events.MetricsLogged(started.run, time.time(), values, run.sampler.taken))

    def _refused(self) -> dict[str, str]:
        """Stages that did not begin, and why; a stage tried by hand does not count as a failed session."""
        return sessions.refusals(self._root, self._session.id) if self._session.by_dvc else {}

    def _has_restored(self) -> bool:
        return any(event.state == "restored" for event in self._cached())

    def _keep_lock(self) -> None:
        """Copy dvc.lock whenever it has changed, since a temporary workspace is gone when its session ends.

        DVC writes the file in place, so it counts once it is the same on two looks in a row, or DVC is gone.
        """
        lock = Path(self._session.directory) / "dvc.lock"
        try:
            modified, content = lock.stat().st_mtime_ns, lock.read_bytes()
        except FileNotFoundError:
            return
        stable, self._lock_seen = content == self._lock_seen or self._dvc_is_gone(), content
        if modified == self._lock_time or not stable or not _is_whole(content):
            return
        copy = self._folder / _LATEST / "dvc.lock"
        copy.parent.mkdir(exist_ok=True)
        copy.with_suffix(".scratch").write_bytes(redaction.file(lock.name, content))
        os.utime(copy.with_suffix(".scratch"), ns=(modified, modified))
        copy.with_suffix(".scratch").replace(copy)
        self._lock_time = modified

    def _open(self) -> None:
        directory = Path(self._session.directory)
        made = [*_MADE, *dvc_lock.outputs(self._folder / FILES_FOLDER)]
        state = revision.read(directory, made)
        event = events.SessionStarted(
            session=self._session.id,
            time=self._session.time,
            directory=self._session.directory,
            commit=state.commit,
            dirty=state.dirty,
            experiment=self._session.experiment,
            command=self._session.command,
            branch=state.branch,
            remote=state.remote,
            stages=_pipeline(self._folder / FILES_FOLDER),
            files=self._add_files(directory, made if state.dirty else None),
        )
        _append(self._folder / OPENED, event)

    def _add_files(self, directory: Path, made: Sequence[str] | None) -> dict[str, str]:
        """Next to what the session began with, keep the resolved plugins-lock.json, what it runs on, and the diff to the commit.

        ``made`` names what is left out of the diff; None if there is no diff.
        """
        kept = self._folder / FILES_FOLDER
        lock: dict[str, object] = {}
        with suppress(FileNotFoundError, ValueError):  # whoever runs a stage by hand may have broken it
            content = (directory / "plugins-lock.json").read_bytes()
            (kept / "plugins-lock.json").write_bytes(redaction.file("plugins-lock.json", content))
            lock = json.loads(content)
        if made is not None:
            (kept / DIFF).write_bytes(revision.diff(directory, made).encode("utf-8", "surrogateescape"))
        provenance.capture(directory, kept, lock)
        return {file.name: str(file) for file in sorted(kept.iterdir())}

    def _results(self) -> dict[str, str]:
        """Keep dvc.lock as it stands at the end, and the small outputs that DVC leaves to git."""
        lock = self._folder / _LATEST / "dvc.lock"
        if not self._session.by_dvc or not lock.is_file():
            return {}
        texts = {
            path: redaction.file(path, file.read_bytes()).decode()
            for path, digest in dvc_lock.outputs(lock.parent).items()
            if (file := Path(self._session.directory) / path).suffix == ".json"
            and file.is_file()
            and file.stat().st_size <= _LARGEST_TEXT
            and digests.of(file) == digest
        }
        kept = self._folder / _RESULTS
        kept.mkdir(exist_ok=True)
        shutil.copyfile(lock, kept / RESULTS_LOCK)
        (kept / RESULTS_TEXTS).write_text(json.dumps(texts, indent=1), encoding="utf-8")
        return {file.name: str(file) for file in sorted(kept.iterdir())}

    def _status(self) -> Literal["FINISHED", "FAILED", "KILLED"]:
        found = {run.status for run in self._begun()} | ({"FAILED"} if self._refused() else set())
        return "FAILED" if "FAILED" in found else "KILLED" if "KILLED" in found else "FINISHED"

    def _cached(self) -> Iterator[events.StageRestored]:
        """The stages that this session did not run and whose results are still valid."""
        if not self._session.by_dvc:
            return
        before = dvc_lock.stages(self._folder / FILES_FOLDER)
        now = dvc_lock.stages(self._folder / _LATEST)
        ran = {run.started.stage: run.status for run in self._begun() if run.started is not None}
        known = set(_pipeline(self._folder / FILES_FOLDER))
        broken = {name for name, status in ran.items() if status != "FINISHED"} | self._refused().keys()
        stale = standing.stale(now, before, broken, self._folder / FILES_FOLDER)
        moved = standing.moved(now, self._folder / FILES_FOLDER)
        for name, stage in now.items():
            if name in known and name not in ran and name not in stale:
                state: Literal["restored", "unchanged"] = "unchanged" if before.get(name) == stage else "restored"
                yield events.StageRestored(self._session.id, name, "", dvc_lock.hashes(stage, "outs"), state, moved.get(name, []))


def _is_whole(lock: bytes) -> bool:
    try:
        content = yaml_1_2.load(lock)
    except yaml.YAMLError:
        return False
    return isinstance(content, dict) and isinstance(content.get("stages"), dict)


def _append(path: Path, event: AnyEvent) -> None:
    with path.open("ab") as file:
        file.write(encode(event))
        file.flush()
        os.fsync(file.fileno())


def _pipeline(directory: Path) -> list[str]:
    """DVC's names of the stages in the order of the dvc.yaml that is kept there; empty if it cannot be read."""
    from workbench.errors import WorkbenchError
    from workbench.project import pipeline

    try:
        return [call.address for call in pipeline.load(directory, PIPELINE_COPY)]
    except (OSError, WorkbenchError):
        return []
