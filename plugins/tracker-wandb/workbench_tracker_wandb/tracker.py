"""The tracker: each lifecycle event, written to the transaction log of its run."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from workbench import events, hookimpl, redaction
from workbench.errors import ParamsError
from workbench.kinds.tracker import Tracker
from workbench.plugin import Config
from workbench_tracker_wandb import media, params

if TYPE_CHECKING:
    from workbench_tracker_wandb.run_log import Run, RunLog

Mode = Literal["offline", "online"]
MODES: tuple[Mode, ...] = ("offline", "online")
DEFAULT_PROJECT = "workbench"
MEGABYTE = 1e6
LONGEST_TAG = 64
"""Characters; W&B refuses longer ones."""
STAGES = "stages/"
"""What the summary of a session begins with where it tells of its stages."""
_ENDED: Mapping[str, int] = {"FINISHED": 0, "FAILED": 1, "KILLED": 1}
"""Exit codes."""


class WandbConfig(Config):
    """Where the tracker writes; what is empty is left to the environment."""

    mode: Literal["", "offline", "online"] = ""
    """``offline`` keeps the runs in the folder; ``online`` also uploads them at the end of each `dvc repro`. Empty takes
    ``WANDB_MODE``, or ``offline``."""
    folder: str = Field(".workbench/wandb", min_length=1)
    """Folder of the runs, relative to the workspace."""
    project: str = ""
    """Project of the runs; empty takes ``WANDB_PROJECT``, or ``workbench``."""
    entity: str = ""
    """User or team that the project belongs to; empty takes ``WANDB_ENTITY``, or whom the API key belongs to."""


class WandbTracker(Tracker[WandbConfig]):
    """Params, curves, results, tables and texts as runs of Weights & Biases (https://docs.wandb.ai)."""

    name = "wandb"
    Config = WandbConfig

    def open(self, workspace: Path) -> None:
        """Load W&B's records, which a watcher cannot do without; nothing is written before the first event.

        Raises:
            ParamsError: ``WANDB_MODE`` is none of the modes.
        """
        self._mode = _mode(self.config)
        from workbench_tracker_wandb.run_log import Run, RunLog

        self._make, self._describe = RunLog, Run
        self._root = workspace / self.config.folder
        self._logs: dict[str, RunLog] = {}
        self._sessions: dict[str, str] = {}

    def close(self) -> None:
        """Forget what was read; all is written already."""
        self._logs.clear()

    @hookimpl
    def session_started(self, event: events.SessionStarted) -> None:
        """Begin the session's own run with what it started from."""
        log = self._begin(event.session, event.time)
        known = {"command": event.command, "branch": event.branch, "experiment": event.experiment, "remote": event.remote}
        facts = {name: redaction.text(value) for name, value in known.items() if value}
        config = {**facts, "commit": event.commit, "dirty": event.dirty, "stages": event.stages}
        run = self._run(event.experiment or "dvc repro", event.session, "session", config)
        log.begin("session", replace(run, commit=event.commit, remote=facts.get("remote", "")), event.time)
        for name, path in event.files.items():
            if Path(path).is_file():
                log.save(f"started/{name}", name, redaction.file(name, Path(path).read_bytes()))
        log.flush()

    @hookimpl
    def stage_started(self, event: events.StageStarted) -> str:
        """Begin the run with its configuration, or take up one that was killed."""
        log = self._begin(event.run, event.time)
        self._sessions[log.id] = event.session
        facts = {"run": event.run, "session": event.session, "stage": event.stage, "fingerprint": event.fingerprint}
        inputs = {artifact.flow: artifact.digest for artifact in event.inputs}
        config = {**params.of_entry(event.lock), "workbench": facts, "inputs": inputs}
        tags = [tag[:LONGEST_TAG] for tag in (event.plugin, event.experiment) if tag]
        run = replace(self._run(event.stage, event.session, event.kind, config), tags=tags, notes=_notes(event))
        log.begin(f"stage:{event.time}", run, event.time)
        if event.inputs:
            log.table(f"inputs:{event.time}", "inputs", media.table([item.row() for item in event.inputs]), event.time)
        log.save(f"lock_entry:{event.time}", "lock_entry.json", _record(event.lock))
        log.save(f"machine:{event.time}", "machine.json", _record(event.machine))
        log.flush()
        return f"W&B run {log.id}"

    @hookimpl
    def metrics_logged(self, events: list[events.MetricsLogged]) -> None:
        """Write numbers; those without a step are results."""
        log = self._log(events[0].run)
        log.points((event.values, event.step, event.time) for event in events if event.step is not None)
        for event in events:
            if event.step is None:
                log.summarize(f"results:{event.time}:{','.join(event.values)}", _results(event.values))
        log.flush()

    @hookimpl
    def alert_raised(self, event: events.AlertRaised) -> None:
        """Note what a person should look at; of one name, the newest stands."""
        log = self._log(event.run)
        log.summarize(f"alert:{event.name}:{event.time}", {f"alerts/{event.name}": redaction.text(event.message)})
        log.flush()

    @hookimpl
    def artifact_logged(self, event: events.ArtifactLogged, file: str) -> None:
        """Write a table, a chart or a text."""
        log = self._log(event.run)
        content = Path(file).read_text(encoding="utf-8")
        mark = f"{event.content}:{event.name}:{event.time}"
        if event.content == "text":
            log.text(mark, f"texts/{event.name}", content, event.time)
        elif event.content == "table":
            rows = json.loads(content)
            _write_table(log, mark, f"tables/{event.name}", rows, len(rows), event.time)
        else:
            _write_chart(log, mark, f"charts/{event.name}", json.loads(content), event.time)
        log.flush()

    @hookimpl
    def generation_logged(self, event: events.GenerationLogged) -> None:
        """Note a generated text; the stage's end makes a table of all of them."""
        log = self._log(event.run)
        known = {"prompt": event.prompt, "output": event.output, "tokens": event.tokens, "score": event.score}
        log.generation(f"generation:{event.time}", known, event.time)
        log.flush()

    @hookimpl
    def artifact_committed(self, event: events.ArtifactCommitted) -> None:
        """Note an output."""
        log = self._log(event.run)
        table = media.table([event.artifact.row()])
        log.table(f"output:{event.time}", f"outputs/{event.artifact.flow}", table, event.time)
        log.flush()

    @hookimpl
    def outputs_hashed(self, event: events.OutputsHashed) -> None:
        """Note the outputs' hashes."""
        log = self._log(event.run)
        log.summarize(f"hashes:{event.time}", {f"outputs/{path}": digest for path, digest in event.outputs.items()})
        log.flush()

    @hookimpl
    def stage_finished(self, event: events.StageFinished) -> None:
        """Write the results and what the stage took. The run is closed with its session: its outputs are not hashed yet."""
        log = self._log(event.run)
        took = {"system/seconds": event.seconds, "system/peak_memory_megabytes": event.peak_memory / MEGABYTE}
        log.summarize(f"finished:{event.time}", {**_results(event.metrics), **took})
        self._write_end(log, "FINISHED", event.time)

    @hookimpl
    def stage_failed(self, event: events.StageFailed) -> None:
        """Write what went wrong. A killed run may be continued, so only a failed one is closed with its session."""
        log = self._log(event.run)
        said = redaction.text(f"{event.status}: {event.error}\n\n{event.traceback}".rstrip())
        log.text(f"error:{event.time}", "error", said, event.time)
        self._write_end(log, event.status, event.time)

    @hookimpl
    def stage_restored(self, event: events.StageRestored) -> None:
        """Note a stage that DVC did not run."""
        log = self._log(event.session)
        facts = {"state": event.state, "fingerprint": event.fingerprint, "outputs": event.outputs}
        log.summarize(f"restored:{event.stage}", {f"restored/{event.stage}": facts})
        log.flush()

    @hookimpl
    def session_finished(self, event: events.SessionFinished) -> None:
        """Close the runs that ended in the session, and the session's own; upload them where that is wanted."""
        session = self._log(event.session)
        for name, value in session.summary.items():
            if name.startswith(STAGES) and value["status"] != "KILLED":
                log = self._log(value["run"])
                log.end(_ENDED[value["status"]])
                log.flush()
        for name, path in event.files.items():
            if Path(path).is_file():
                session.save(f"made/{name}", name, redaction.file(name, Path(path).read_bytes()))
        session.summarize("status", {"status": event.status, "_runtime": session.runtime(event.time)})
        session.end(_ENDED[event.status])
        session.flush()
        if self._mode == "online":
            from workbench_tracker_wandb.upload import upload

            upload(self._root)

    def _run(self, name: str, session: str, kind: str, config: Mapping[str, object]) -> Run:
        project = self.config.project or os.environ.get("WANDB_PROJECT") or DEFAULT_PROJECT
        entity = self.config.entity or os.environ.get("WANDB_ENTITY", "")
        return self._describe(name, _id(session), kind, project, entity, config)

    def _write_end(self, log: RunLog, status: str, time: float) -> None:
        """How a run ended, in its own log and in its session's."""
        mark = f"ended:{time}"
        if log.generations:
            _write_table(log, f"generations:{time}", "generations", log.generations, log.generated, time)
        log.summarize(mark, {"status": status, "_runtime": log.runtime(time)})
        log.flush()
        session = self._log(self._sessions.get(log.id, log.group))  # the run may have been continued in another one since
        facts = {"run": log.id, "status": status, "seconds": log.runtime(time)}
        session.summarize(f"{log.id}:{mark}", {f"{STAGES}{log.name}": facts})
        session.flush()

    def _begin(self, run: str, time: float) -> RunLog:
        """The log of a run, in a new folder named after its beginning unless it has one."""
        id = _id(run)
        if id not in self._logs and not self._found(id):
            moment = datetime.fromtimestamp(time, tz=UTC).strftime("%Y%m%d_%H%M%S")
            self._logs[id] = self._make(self._root / f"offline-run-{moment}-{id}", id)
        return self._log(run)

    def _log(self, run: str) -> RunLog:
        """The log of a run.

        Raises:
            LookupError: its start was never written.
        """
        id = _id(run)
        if id not in self._logs:
            found = self._found(id)
            if not found:
                raise LookupError(f"run {id} is not below {self._root}")
            self._logs[id] = self._make(found[0], id)
        return self._logs[id]

    def _found(self, id: str) -> list[Path]:
        return [file.parent for file in sorted(self._root.glob(f"*/run-{id}.wandb"))]


def _mode(config: WandbConfig) -> Mode:
    mode = config.mode or os.environ.get("WANDB_MODE") or "offline"
    if mode not in MODES:
        fix = "set it to offline or online; to record nothing, take wandb out of `trackers:` in compute.yaml"
        raise ParamsError(f"the mode {mode!r} is not known to the tracker wandb", "environment variable WANDB_MODE", fix)
    return mode


def _id(run: str) -> str:
    """A name that W&B takes for an id."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", run)


def _write_table(log: RunLog, mark: str, key: str, rows: Sequence[Mapping[str, object]], count: int, time: float) -> None:
    """As many rows as W&B shows, and how many were left out."""
    log.table(mark, key, media.table(rows), time)
    if count > media.ROWS_KEPT:
        log.summarize(f"{mark}/left", {f"{key} (rows left out)": count - media.ROWS_KEPT})


def _write_chart(log: RunLog, mark: str, key: str, chart: Mapping[str, object], time: float) -> None:
    plot = media.plot(chart)
    if plot is None:
        log.table(mark, key, media.chart_table(chart), time)
    else:
        log.plot(mark, key, plot, time)


def _results(values: Mapping[str, float]) -> dict[str, float]:
    return {f"results/{name}": value for name, value in values.items()}


def _notes(event: events.StageStarted) -> str:
    facts = {
        "why it ran": "; ".join(event.reasons),
        "command": redaction.text(event.command),
        "directory": event.directory,
        "continued from": event.resumed_from,
        "checkpoints passed over": "; ".join(event.passed_over),
    }
    return "\n\n".join(f"{name}: {' '.join(value.split())}" for name, value in facts.items() if value)


def _record(content: Mapping[str, object]) -> bytes:
    return json.dumps(redaction.tree(content), indent=1, sort_keys=True).encode()
