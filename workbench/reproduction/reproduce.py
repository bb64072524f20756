"""``workbench reproduce``: runs the recorded stages again in a separate workspace, and compares the results with the record."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from workbench import events
from workbench.answers import RESULTS_LOCK, RESULTS_TEXTS, UNRECORDED, Circumstances, Record, RecordedStage
from workbench.artifacts import digests, dvc_lock
from workbench.artifacts.model import TRAINING_LOG
from workbench.errors import WorkbenchError
from workbench.hosting import trackers
from workbench.hosting.host import registry
from workbench.lib.commit import remove
from workbench.lib.difference import Difference, differences
from workbench.lib.git import GitError
from workbench.lib.processes import process_start
from workbench.project.dvc import stored
from workbench.reproduction import verdict
from workbench.reproduction.rebuilt import Rebuilt, rebuilt
from workbench.reproduction.verdict import CannotRun, InputsChanged, MetricPair, StageVerdict
from workbench.tracking import session as sessions
from workbench.tracking import watcher
from workbench.tracking.journal import Journal, read_events
from workbench.tracking.session import Session

FOLDER = Path(".workbench/reproductions")


@dataclass(frozen=True)
class Options:
    """How to repeat a run, and how strictly to judge."""

    pipeline: bool = False
    """Every stage of the run's pipeline, in order, instead of only one."""
    fresh: bool = False
    """In an environment made of the recorded pins."""
    tolerance: float = 0.02
    """On another machine: relative difference of a metric that counts as equal, if no other seeds reveal its noise."""


def reproduce(main: Path, run: str, options: Options) -> list[StageVerdict]:
    """Repeat a run of the tracker's store; every outcome is printed, and recorded as a run that links the original.

    Raises:
        WorkbenchError: no tracker knows the run.
    """
    watcher.sync(main)
    (main / FOLDER).mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=main / FOLDER))
    try:
        record = _find(main, run, folder / "record")
        if options.pipeline and record.session and record.is_one_run:
            record = _find(main, record.session, folder / "session")
        here = sessions.current_session(main)
        watcher.ensure_watcher(main, here)
        return _Reproduction(main, record, options, folder, here).outcomes()
    finally:
        remove(folder)


def _find(main: Path, run: str, into: Path) -> Record:
    if (found := trackers.recorded(main, run, into)) is not None:
        return found
    asked = trackers.configured(main)
    settings = " or ".join(f"{tracker.store_variable}=…" for tracker in asked if tracker.store_variable)
    elsewhere = f"; of another clone's store, say where it is with {settings}" if settings else ""
    where = f"trackers {', '.join(tracker.name for tracker in asked)}"
    raise WorkbenchError(f"no run {run!r} of a stage or a session", where, f"`workbench ui` lists them{elsewhere}")


class _Reproduction:
    """The work of one command."""

    def __init__(self, main: Path, record: Record, options: Options, folder: Path, session: Session) -> None:
        self._main, self._record, self._options, self._folder, self._session = main, record, options, folder, session
        lock = record.file(RESULTS_LOCK)
        texts = record.file(RESULTS_TEXTS)
        self._texts: dict[str, str] = json.loads(texts.read_text(encoding="utf-8")) if texts else {}
        self._made: dict[str, str] = {}
        if lock is not None:
            shutil.copyfile(lock, folder / dvc_lock.FILE)
            self._made = dvc_lock.outputs(folder)
        self._made |= {path: digest for stage in record.stages for path, digest in stage.outputs.items()}
        self._fetched = 0

    def outcomes(self) -> list[StageVerdict]:
        """Rebuild the workspace once and repeat every stage in it."""
        pid = os.getpid()
        variables = {sessions.REPRODUCTION: f"{pid}:{self._record.stages[0].run}"}
        found: list[StageVerdict] = []
        try:
            with rebuilt(self._main, self._record, self._folder, variables, fresh=self._options.fresh) as workspace:
                workspace.resolve()
                found.extend(self._stage(workspace, stage) for stage in self._record.stages)
        except (CannotRun, GitError) as error:
            done = {outcome.stage for outcome in found}
            found += [self._refuse(stage, error) for stage in self._record.stages if stage.stage not in done]
        return found

    def _stage(self, workspace: Rebuilt, stage: RecordedStage) -> StageVerdict:
        if not stage.outputs:
            error = CannotRun("its outputs have no recorded hashes, as DVC did not run it or it did not end well", stage.stage)
            return self._refuse(stage, error)
        try:
            workspace.require_same(stage, self._record)
            self._provide(workspace, stage)
        except (CannotRun, InputsChanged) as error:
            return self._refuse(stage, error)
        for path in stage.outputs:
            remove(workspace.root / path)
        variables = {sessions.REPRODUCTION: f"{os.getpid()}:{stage.run or UNRECORDED}", "DVC_STAGE": stage.stage}
        done = workspace.call("run", stage.entry, *stage.words, **variables)
        started = self._started(stage)
        if done.returncode or started is None:
            return self._refuse(stage, CannotRun(f"it ended with code {done.returncode}; what it said stands above", stage.stage))
        outcome = self._judge(workspace, stage, started)
        self._tell(outcome)
        self._write(started.run, stage, outcome)
        return outcome

    def _provide(self, workspace: Rebuilt, stage: RecordedStage) -> None:
        """Put the recorded inputs where the stage reads them."""
        wanted: dict[str, str] = {}
        for path, digest in stage.inputs.items():
            below = {out: made for out, made in self._made.items() if out.startswith(f"{path}/")}
            wanted |= below or {path: digest}
        lacking = {path: digest for path, digest in wanted.items() if not _is(workspace.root / path, digest)}
        found = self._fetch(lacking)
        for path, digest in lacking.items():
            if path not in found:
                seen = "is another one here" if (workspace.root / path).exists() else "is not here"
                what = f"{path} with hash {digest} {seen}, and neither the cache nor a remote has it"
                raise InputsChanged(what, f"input of {stage.stage}", "`dvc fetch` from the remote that has it, then try again")
            remove(workspace.root / path)
            (workspace.root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(found[path], workspace.root / path)

    def _fetch(self, wanted: Mapping[str, str]) -> dict[str, Path]:
        """Recorded results, copied so that they can be moved: path → location, for those that were found."""
        if not wanted:
            return {}
        self._fetched += 1
        folder = self._folder / f"fetched-{self._fetched}"
        found = stored.fetch(self._main, wanted, folder)
        for number, path in enumerate(wanted):
            if path not in found and path in self._texts:
                file = folder / f"text-{number}"
                file.write_text(self._texts[path], encoding="utf-8")
                if _is(file, wanted[path]):
                    found[path] = file
        return found

    def _judge(self, workspace: Rebuilt, stage: RecordedStage, started: events.StageStarted) -> StageVerdict:
        changed = {path: digest for path, digest in stage.outputs.items() if not _is(workspace.root / path, digest)}
        if not changed:
            words = "output has the recorded hash" if len(stage.outputs) == 1 else "outputs have the recorded hashes"
            same: dict[str, Sequence[Difference]] = dict.fromkeys(stage.outputs, ())
            return StageVerdict(stage.stage, "BIT-EXACT", f"{len(stage.outputs)} {words}", outputs=same)
        originals = self._fetch(changed)
        outputs = {path: _compared(workspace.root / path, originals.get(path), changed.get(path)) for path in stage.outputs}
        then = trackers.circumstances(self._main, stage.run) if stage.run else Circumstances()
        metrics = list(self._metrics(workspace, stage, then.noise))
        machine = _unlike(then.machine, started.machine)
        noisy = bool(machine) and bool(metrics) and all(pair.within for pair in metrics) and _may_vary(self._main, stage)
        path, gap = next((path, gaps[0]) for path, gaps in outputs.items() if gaps)
        first = f"{path}{'/' if gap.file else ''}{gap.file}: {gap.words}"
        return StageVerdict(
            stage.stage,
            "WITHIN-TOLERANCE" if noisy else "DIVERGED",
            f"{len(changed)} of {len(stage.outputs)} outputs differ, first {first}",
            outputs=outputs,
            step=_first_step(workspace.root, originals),
            metrics=metrics,
            machine=machine,
        )

    def _metrics(self, workspace: Rebuilt, stage: RecordedStage, noise: Mapping[str, float]) -> Iterator[MetricPair]:
        file = workspace.root / stage.metrics_file
        repeated = json.loads(file.read_text(encoding="utf-8")) if stage.metrics_file and file.is_file() else {}
        for name, original in stage.metrics.items():
            if name in repeated:
                allowed = 2 * noise[name] if name in noise else self._options.tolerance * abs(original)
                yield MetricPair(name, original, float(repeated[name]), allowed)

    def _started(self, stage: RecordedStage) -> events.StageStarted | None:
        """The newest run of the stage in this session."""
        found: list[events.StageStarted] = []
        for journal in sessions.folder_of(self._main, self._session.id).glob("[!_]*.jsonl"):
            first, _ = read_events(journal, 0, limit=1)
            found += [event for event in first if isinstance(event, events.StageStarted) and event.stage == stage.stage]
        return max(found, key=lambda event: event.time, default=None)

    def _refuse(self, stage: RecordedStage, error: WorkbenchError) -> StageVerdict:
        """Record the outcome in the stage's run, or in a run that represents the attempt if none began."""
        outcome = verdict.refused(stage.stage, error)
        self._tell(outcome)
        started = self._started(stage) or self._attempt(stage)
        self._write(started.run, stage, outcome)
        return outcome

    def _attempt(self, stage: RecordedStage) -> events.StageStarted:
        started = events.StageStarted(
            run=uuid.uuid4().hex[:16],
            time=time.time(),
            session=self._session.id,
            stage=stage.stage,
            entry=stage.entry,
            kind=stage.kind,
            plugin=str(stage.lock.get("use", "")),
            seed=int(stage.lock.get("seed", 0)),
            pid=os.getpid(),
            process_started=process_start(os.getpid()),
            config=dict(stage.lock.get("config", {})),
            lock=dict(stage.lock),
            inputs=[],
            fingerprint="",
            machine={},
            command=stage.command,
            directory=str(self._main),
            reproduces=stage.run or UNRECORDED,
        )
        journal = Journal.create(self._main, self._session.id, started.run)
        journal.write(started)
        journal.write(events.StageFailed(started.run, time.time(), "FAILED", "it could not be repeated"))
        journal.close()
        return started

    def _write(self, run: str, stage: RecordedStage, outcome: StageVerdict) -> None:
        journal = Journal.create(self._main, self._session.id, run)
        page = verdict.report(outcome)
        journal.write(events.StageReproduced(run, time.time(), stage.run, outcome.verdict, outcome.reason, page))
        journal.close()

    def _tell(self, outcome: StageVerdict) -> None:
        for line in verdict.lines(outcome):
            typer.echo(line)


def _is(path: Path, digest: str) -> bool:
    return path.exists() and digests.of(path) == digest


def _compared(repeated: Path, original: Path | None, digest: str | None) -> list[Difference]:
    if digest is None:
        return []
    if not repeated.exists():
        return [Difference("", "it was not written")]
    if original is None:
        now = digests.of(repeated)
        return [Difference("", f"its hash was {digest} and is {now}; the original bytes are no longer available")]
    return differences(original, repeated) or [Difference("", "other bytes")]


def _first_step(root: Path, originals: Mapping[str, Path]) -> int | None:
    """The first logged step at which the training logs of a model differ."""
    for path, original in originals.items():
        files = (original / TRAINING_LOG, root / path / TRAINING_LOG)
        if all(file.is_file() for file in files):
            before, after = (list(csv.DictReader(file.read_text(encoding="utf-8").splitlines())) for file in files)
            steps = [int(float(left["step"])) for left, right in zip(before, after, strict=False) if left != right]
            return min(steps, default=None)
    return None


def _unlike(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two machines' fingerprints; empty if the first is unknown."""
    keys = sorted({*before, *now}) if before else []
    return [f"{key} was {before.get(key)}, is {now.get(key)}" for key in keys if before.get(key) != now.get(key)]


def _may_vary(main: Path, stage: RecordedStage) -> bool:
    """Whether another machine may give that stage other bits."""
    return bool(getattr(registry(main).select(stage.kind, stage.lock["use"]).plugin, "machine_dependent", True))
