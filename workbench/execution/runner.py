"""Runs one stage: checks, locks, scratch space, the plugin's work, validation, commit, and the journal of it all."""

from __future__ import annotations

import json
import os
import resource
import shlex
import signal
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench import events
from workbench.answers import SECONDS_METRIC, STARTUP_METRIC
from workbench.artifacts import digests, dvc_lock
from workbench.artifacts.formats import FOLDER, Format
from workbench.errors import ArtifactError, PipelineError, PluginError, WorkbenchError
from workbench.execution import failure, guard, output_locks, strays, untouched
from workbench.execution.pulse import Pulse
from workbench.hosting import environment
from workbench.hosting.host import Registry, registry
from workbench.lib import compute, machine, pandas_later
from workbench.lib.commit import move_into_place, remove
from workbench.lib.console import Console
from workbench.lib.layout import LOCK_FILE, STATE_FOLDER, main_root
from workbench.lib.processes import process_start
from workbench.planning import begun, forecast
from workbench.project import pipeline, plugin_lock
from workbench.project.params import Choice, Entry
from workbench.project.plugin_lock import Locked, Resolved
from workbench.records import provenance
from workbench.run import Cell, Chart, Compute, Generation, Run, Value
from workbench.tracking import session as sessions
from workbench.tracking.alerts import Alerts
from workbench.tracking.journal import Journal, find_interrupted
from workbench.tracking.session import Session, current_session, guard_above, reproduction
from workbench.tracking.watcher import ensure_watcher, wait_for_link, warnings
from workbench.training.checkpoints import look
from workbench.verification.integrity import require_unaltered


def run_stage(address: str, flows: Mapping[str, str]) -> None:
    """Run the stage whose entry in plugins-lock.json is ``address`` on the given paths.

    Raises:
        WorkbenchError: the stage cannot run or failed; nothing was committed.
    """
    root = Path.cwd()
    main = main_root(root)
    config = compute.load_config(root)
    session = current_session(root)
    if not guard_above():
        ensure_watcher(main, session)  # by the main environment, which has the trackers
    stage = os.environ.get("DVC_STAGE", address)
    limits = guard.Limits(config.time_limit(address), config.stall_limit)
    pulse = guard.enter(main, session, stage, limits)  # from here on in a process of its own
    try:
        prepared = _prepare(root, main, stage, address, flows, config)
        with ExitStack() as stack:
            console = stack.enter_context(Console(stage))
            stack.enter_context(output_locks.only_writer(root, stage, prepared.written))
            stack.enter_context(output_locks.only_maker(main, prepared.fingerprint, console.say))
            _execute(root, prepared, session, console, pulse)
    except WorkbenchError as error:
        if not pulse.begun:
            sessions.note_refusal(main, session.id, stage, str(error))
        raise


@dataclass(frozen=True)
class PreparedStage:
    """A stage about to run."""

    name: str
    """DVC's name of the stage."""
    resolved: Resolved
    locked: Locked
    record: Mapping[str, Any]
    """Its entry in plugins-lock.json, with ``moved`` if the code that runs is not the code of the entry."""
    inputs: Mapping[str, Path]
    outputs: Mapping[str, Path]
    formats: Mapping[str, Format]
    """Of the outputs, by flow."""
    metrics: Path | None
    compute: Compute
    machine: Mapping[str, object]
    artifacts: Sequence[events.Artifact]
    """The inputs with their digests."""
    fingerprint: str
    """Identifies the result: lock entry, input digests and, where it matters, the machine."""

    @property
    def written(self) -> Sequence[Path]:
        """The paths that only this stage may write: its outputs and its metrics."""
        return sorted([*self.outputs.values(), *([] if self.metrics is None else [self.metrics])])

    def predicted(self, main: Path) -> float | None:
        """Seconds predicted by the newest `workbench plan`; None if it predicted none."""
        compared = {key: value for key, value in self.record.items() if key != "moved"}
        return forecast.predicted_seconds(main, self.name, compared)


def _prepare(
    root: Path, main: Path, stage: str, address: str, flows: Mapping[str, str], config: compute.ComputeConfig
) -> PreparedStage:
    """Prepare and check everything before the run begins, in the environment that the stage's plugins need."""
    chosen = compute.choose(config, own_environment=environment.is_inside(main / environment.FOLDER))
    compute.prepare_process(chosen)
    resolved, locked, formats = _restore(root, address)
    environment.enter(root, resolved.used, resolved.beside, stage)
    pandas_later.put_off()
    return _plan(root, stage, resolved, locked, formats, flows, chosen)


def _restore(root: Path, address: str) -> tuple[Resolved, Locked, Mapping[str, Format]]:
    """Build the stage from its lock entry, and refuse code that differs from what was locked or pinned."""
    locked = plugin_lock.read_entry(root, address)
    try:
        known = registry(root, locked.distributions)
        resolved = _resolve(address, locked.record, known)
    except PluginError:
        known = registry(root)  # another distribution may have it now, or the error lists all plugins
        resolved = _resolve(address, locked.record, known)
    if resolved.locked()["plugins"] != locked.plugins:
        raise PluginError("its code has changed since the pipeline was resolved", f"stage {address}", "run `dvc repro` again")
    if locked.rerun == "pin":
        what = f"it has to run, and the code of {', '.join(locked.moved)} is no longer the code that it is pinned to"
        fix = f"install that version again, or set {address}.rerun to `rerun` in params.yaml"
        raise PluginError(what, f"stage {address}", fix)
    return resolved, locked, known.formats


def _resolve(address: str, record: Mapping[str, Any], known: Registry) -> Resolved:
    kind = record["kind"]
    plugin = known.select(kind, record["use"], f"{LOCK_FILE}, stage {address}").plugin
    parts = {
        key: [{"use": member["use"], "with": member["config"]} for member in record[key]]
        for key in getattr(plugin, "parts", {})
        if key in record
    }
    entry = Entry(address, kind, Choice(record["use"], record["config"], address), record["seed"], parts)
    return plugin_lock.resolve_entry(entry, known)


def _plan(
    root: Path,
    name: str,
    resolved: Resolved,
    locked: Locked,
    formats: Mapping[str, Format],
    flows: Mapping[str, str],
    chosen: Compute,
) -> PreparedStage:
    stage = resolved.stage
    record = {**locked.record, "moved": locked.moved} if locked.moved else locked.record
    unknown = set(flows) - {*stage.inputs, *stage.outputs, "metrics"}
    if unknown:
        raise PipelineError(f"unknown option --{min(unknown)}", f"stage {resolved.entry.address}", "`workbench check` explains")
    inputs = {flow: Path(flows[flow]) for flow in stage.inputs if flow in flows}
    outputs = {flow: Path(flows[flow]) for flow in stage.outputs if flow in flows}
    for flow in {*stage.inputs, *stage.outputs} - {*inputs, *outputs} - stage.optional:
        raise PipelineError(f"--{flow} PATH is missing", f"stage {resolved.entry.address}", "`workbench check` explains")
    metrics = Path(flows["metrics"]) if "metrics" in flows else None
    pipeline.require_inside(root, [*outputs.values(), *([metrics] if metrics else [])], f"stage {resolved.entry.address}")
    recorded = dvc_lock.stages(root)
    artifacts = [_input(root, name, flow, formats[stage.inputs[flow]], path, recorded) for flow, path in inputs.items()]
    here = machine.fingerprint(chosen)
    identity: list[object] = [record, {artifact.flow: artifact.digest for artifact in artifacts}]
    identity.append(here if stage.machine_dependent else None)
    if (repeated := reproduction())[0]:
        identity.append(repeated)  # it does not continue from anything left by another run
    written = {flow: formats[stage.produced(flow)] for flow in outputs}
    return PreparedStage(
        name, resolved, locked, record, inputs, outputs, written, metrics, chosen, here, artifacts, digests.of_record(identity)
    )


def _input(root: Path, stage: str, flow: str, format_: Format, path: Path, recorded: dvc_lock.Stages) -> events.Artifact:
    """An input as it is now: every byte is hashed, and it is refused if DVC would record a different hash."""
    if not path.exists():
        raise ArtifactError(f"input --{flow} is missing", str(path), "run `dvc repro`, or `dvc pull` if another machine made it")
    files = digests.listing(path)
    require_unaltered(root, stage, path, files, recorded)
    format_.require(path)
    size, columns = digests.size_of(path), format_.columns(path)
    return events.Artifact(flow, path.as_posix(), format_.name, digests.combined(files), format_.rows(path), size, columns)


def _execute(root: Path, prepared: PreparedStage, session: Session, console: Console, pulse: Pulse) -> None:
    main = main_root(root)
    interrupted = find_interrupted(main, session.id, prepared.fingerprint)
    journal = interrupted or Journal.create(main, session.id, uuid.uuid4().hex[:16])
    started, clock = time.time(), time.monotonic()  # the wall clock, which may be set, and the monotonic one
    scratch = root / STATE_FOLDER / "scratch" / prepared.written[0].as_posix().replace("/", "+")
    checkpoints = main / STATE_FOLDER / "checkpoints" / prepared.fingerprint
    journal.write(_started(prepared, journal.run, session.id, root, started, checkpoints))
    pulse.begin(journal.run, prepared.fingerprint, failure.plugins_of(prepared.resolved))
    predicted = prepared.predicted(main)
    alerts = Alerts(journal, console, predicted)
    listeners = _Listeners(journal, console, pulse, alerts)
    try:
        remove(scratch)
        (scratch / "work").mkdir(parents=True)
        before = untouched.look(
            root, prepared.name, prepared.resolved.entry.address, prepared.locked, prepared.artifacts, prepared.written, started
        )
        run = _make_run(prepared, listeners, scratch / "work", checkpoints)
        compute.use_temporary_folder(run.scratch)
        run.log(forecast.metrics(prepared.resolved.stage, prepared.inputs, predicted))
        written = {flow: scratch / flow for flow in prepared.outputs}
        prepared.resolved.stage.execute(_readable(root, prepared, scratch), written, run)
        strays.require_closed(prepared.name, written.values())
        _validate(prepared, written)
        before.require()
        _commit(prepared, written, run, scratch / "metrics", journal)
    except BaseException as error:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not cut the record short
        alerts.ended(error)
        failed = failure.explain(error, prepared.name, prepared.resolved)
        journal.write(events.StageFailed(journal.run, time.time(), failed.status, failed.record, failed.traceback))
        journal.close()
        pulse.end(failed.code)
        if failed.error is error:
            raise
        raise failed.error from error
    finally:
        remove(scratch)
    remove(checkpoints)
    seconds = time.monotonic() - clock
    run.log({SECONDS_METRIC: seconds, STARTUP_METRIC: (listeners.first_progress or clock) - clock})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    results = {name: float(value) for name, value in run.summary.items()}
    journal.write(events.StageFinished(journal.run, time.time(), results, seconds, peak, provenance.loaded_libraries()))
    journal.close()
    pulse.end(0)
    console.say(f"done in {seconds:.1f} s; {wait_for_link(main, session, journal.run, seconds)}")
    for warning in warnings(main, session.id, journal.run):
        console.say(warning)


def _readable(root: Path, prepared: PreparedStage, scratch: Path) -> dict[str, Path]:
    """The inputs as the plugin reads them: of a folder of results, only what the current dvc.yaml makes.

    DVC leaves the outputs of stages that are no longer in dvc.yaml where they are; no result may depend on them.
    """
    formats = prepared.resolved.stage.inputs
    if FOLDER not in formats.values():
        return dict(prepared.inputs)
    outs = plugin_lock.read_outs(root)
    readable = dict(prepared.inputs)
    for flow, folder in prepared.inputs.items():
        if formats[flow] == FOLDER:
            readable[flow] = view = scratch / "inputs" / flow
            view.mkdir(parents=True)
            for out in outs:
                if out.parent == folder and out.exists():
                    (view / out.name).symlink_to(root / out)
    return readable


def _make_run(prepared: PreparedStage, listeners: _Listeners, scratch: Path, checkpoints: Path) -> Run:
    checkpoints.mkdir(parents=True, exist_ok=True)
    if "torch" in sys.modules:
        raise PluginError("torch was imported before its threads were set", prepared.name, "import torch inside functions")
    return Run(prepared.name, prepared.resolved.entry.seed, prepared.compute, scratch, checkpoints, listeners)


def _started(prepared: PreparedStage, run: str, session: str, root: Path, now: float, checkpoints: Path) -> events.StageStarted:
    found = look(checkpoints)
    parts = sorted({path.parent for path in checkpoints.rglob("checkpoint-*")} - {checkpoints})  # of a stage that trains twice
    words = ["python", "-m", "workbench", *sys.argv[1:]]
    inputs = {artifact.path: artifact.digest for artifact in prepared.artifacts}
    repeated, absent = reproduction()[1], sessions.load(main_root(root), session).absent
    return events.StageStarted(
        run=run,
        time=now,
        session=session,
        stage=prepared.name,
        entry=prepared.resolved.entry.address,
        kind=prepared.resolved.entry.kind,
        plugin=prepared.resolved.entry.choice.use,
        seed=prepared.resolved.entry.seed,
        pid=os.getpid(),
        process_started=process_start(os.getpid()),
        guard=guard_above(),
        guard_started=process_start(guard_above()),
        config=dict(prepared.record["config"]),
        lock=dict(prepared.record),
        inputs=list(prepared.artifacts),
        fingerprint=prepared.fingerprint,
        machine=dict(prepared.machine),
        command=shlex.join(words),
        directory=str(root),
        experiment=os.environ.get("DVC_EXP_NAME", ""),
        resumed_from=found.newest.name if found.newest else "",
        passed_over=[*found.passed_over, *(f"{part.name}/{problem}" for part in parts for problem in look(part).passed_over)],
        reproduces=repeated,
        reasons=[] if repeated else begun.reasons(root, prepared.name, words, prepared.locked.record, inputs, absent),
    )


def _validate(prepared: PreparedStage, written: Mapping[str, Path]) -> None:
    for flow, path in written.items():
        if not path.exists():
            raise PluginError(f"it wrote no {flow}", f"stage {prepared.name}", f"mend the {prepared.resolved.entry.kind} plugin")
        try:
            prepared.formats[flow].validate(path)
        except ArtifactError as error:
            where = error.where.replace(str(path), str(prepared.outputs[flow]))
            raise ArtifactError(error.what, f"output of stage {prepared.name}: {where}", error.fix) from error


def _commit(prepared: PreparedStage, written: Mapping[str, Path], run: Run, metrics: Path, journal: Journal) -> None:
    """Steps that may fail come first, so that either all outputs are renamed into place or none."""
    artifacts = []
    for flow, path in prepared.outputs.items():
        format_, made = prepared.formats[flow], written[flow]
        size, columns = digests.size_of(made), format_.columns(made)
        artifacts.append(events.Artifact(flow, path.as_posix(), format_.name, "", format_.rows(made), size, columns))
        if format_.preview is not None:
            run.table(f"{flow}-preview", f"The first rows of {path.as_posix()}", format_.preview(made))
    metrics.write_text(json.dumps(run.summary, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    for flow, path in prepared.outputs.items():
        move_into_place(written[flow], path)
    if prepared.metrics is not None:
        move_into_place(metrics, prepared.metrics)
    for artifact in artifacts:
        journal.write(events.ArtifactCommitted(run=journal.run, time=time.time(), artifact=artifact))


class _Listeners:
    """Passes a run's reports to the journal, its progress to the console, and both to the alerts; each is a sign of life."""

    def __init__(self, journal: Journal, console: Console, pulse: Pulse, alerts: Alerts) -> None:
        self._journal, self._console, self._pulse, self._alerts = journal, console, pulse, alerts
        self.first_progress: float | None = None
        """When the stage had done its first unit of work."""

    def metrics(self, values: Mapping[str, Value], step: int | None) -> None:
        self._pulse.beat()
        self._journal.metrics(values, step)
        self._alerts.metrics(values, step)

    def table(self, name: str, title: str, rows: Sequence[Mapping[str, Cell]]) -> None:
        self._pulse.beat()
        self._journal.table(name, title, rows)

    def chart(self, chart: Chart) -> None:
        self._pulse.beat()
        self._journal.chart(chart)

    def text(self, name: str, markdown: str) -> None:
        self._pulse.beat()
        self._journal.text(name, markdown)

    def generation(self, generation: Generation) -> None:
        self._pulse.beat()
        self._journal.generation(generation)

    def warning(self, message: str) -> None:
        self._pulse.beat()
        self._alerts.warned(message)

    def progress(self, done: float, total: float | None, unit: str, label: str) -> None:
        self._pulse.beat()
        self.first_progress = self.first_progress or time.monotonic()
        self._console.progress(done, total, unit, label)
        self._alerts.progress(done, total, label)
