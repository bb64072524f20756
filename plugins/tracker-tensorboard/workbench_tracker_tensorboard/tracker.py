"""The tracker: each lifecycle event, written to the event files of its run."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from workbench import events, hookimpl, redaction
from workbench.kinds.tracker import Tracker
from workbench.plugin import Config
from workbench_tracker_tensorboard import markdown, params

if TYPE_CHECKING:
    from workbench_tracker_tensorboard.event_log import EventLog

SESSIONS = "sessions"
SAMPLES = "scalars=0,text=200"
"""What TensorBoard keeps in memory of each name; 0 is all."""
MEGABYTE = 1e6


class TensorboardConfig(Config):
    """Where the tracker writes."""

    folder: str = Field(".workbench/tensorboard", min_length=1)
    """Folder of the event files, relative to the workspace."""


class TensorboardTracker(Tracker[TensorboardConfig]):
    """Params, curves, results, tables and texts as TensorBoard event files (https://www.tensorflow.org/tensorboard)."""

    name = "tensorboard"
    Config = TensorboardConfig

    def open(self, workspace: Path) -> None:
        """Load TensorBoard, which a watcher cannot do without; nothing is written before the first event."""
        from workbench_tracker_tensorboard.event_log import EventLog

        self._make = EventLog
        self._root = workspace / self.config.folder
        self._logs: dict[str, EventLog] = {}

    def ui_command(self, workspace: Path, port: int) -> list[str]:
        """TensorBoard's own server on 127.0.0.1."""
        network = ["--host", "127.0.0.1", "--port", str(port)]
        logdir = ["--logdir", str(workspace / self.config.folder), "--samples_per_plugin", SAMPLES]
        return [sys.executable, "-m", "tensorboard.main", *logdir, *network]

    def ui_address(self, workspace: Path, port: int) -> str:
        """Where that server's dashboards are."""
        return f"http://127.0.0.1:{port}/"

    def close(self) -> None:
        """End all files."""
        for log in self._logs.values():
            log.close()
        self._logs.clear()

    @hookimpl
    def session_started(self, event: events.SessionStarted) -> None:
        """Begin the session's folder with what it started from."""
        log = self._begin(SESSIONS, event.session, event.time)
        known = {"command": event.command, "commit": event.commit, "branch": event.branch, "remote": event.remote}
        rows: list[Mapping[str, object]] = [{"": name, " ": redaction.text(value)} for name, value in known.items() if value]
        rows += [{"": "changed since the commit", " ": "yes" if event.dirty else "no"}]
        log.text("session", markdown.table(event.experiment or "dvc repro", rows), event.time)
        for name, path in event.files.items():
            if Path(path).is_file():
                content = Path(path).read_text(encoding="utf-8", errors="replace")
                log.text(f"files/{name}", markdown.code(redaction.text(content)), event.time)
        log.flush()

    @hookimpl
    def stage_started(self, event: events.StageStarted) -> str:
        """Begin the run's folder with its configuration, or take up the one of a run that was killed."""
        log = self._begin(event.stage, event.run, event.time)
        log.hparams(params.of_entry(event.lock), event.run, event.time)
        log.text("stage", markdown.table(f"{event.stage}: {event.kind} {event.plugin}", _facts(event)), event.time)
        log.text("inputs", markdown.table("Inputs", [item.row() for item in event.inputs]), event.time)
        log.text("lock_entry", markdown.record(_hidden(event.lock)), event.time)
        log.text("machine", markdown.record(_hidden(event.machine)), event.time)
        log.flush()
        return f"TensorBoard run {self._folder(event.run).relative_to(self._root)}"

    @hookimpl
    def metrics_logged(self, events: list[events.MetricsLogged]) -> None:
        """Write numbers; those without a step are results."""
        log = self._log(events[0].run)
        for event in events:
            for name, value in event.values.items():
                log.scalar(name if event.step is not None else f"results/{name}", value, event.time, event.step)
        log.flush()

    @hookimpl
    def alert_raised(self, event: events.AlertRaised) -> None:
        """Write what a person should look at."""
        log = self._log(event.run)
        log.text(f"alerts/{event.name}", markdown.text(redaction.text(event.message)), event.time)
        log.flush()

    @hookimpl
    def artifact_logged(self, event: events.ArtifactLogged, file: str) -> None:
        """Write a table, a chart's data or a text."""
        log = self._log(event.run)
        content = Path(file).read_text(encoding="utf-8")
        if event.content == "text":
            log.text(f"texts/{event.name}", content, event.time)
        elif event.content == "table":
            log.text(f"tables/{event.name}", markdown.table(event.title, json.loads(content)), event.time)
        else:
            _write_chart(log, event, json.loads(content))
        log.flush()

    @hookimpl
    def generation_logged(self, event: events.GenerationLogged) -> None:
        """Write a generated text, its prompt before it."""
        log = self._log(event.run)
        score = "" if event.score is None else f", score {event.score:.6g}"
        parts = [f"{event.tokens} tokens{score}", markdown.code(event.prompt), markdown.code(event.output)]
        log.text("generations", "\n\n".join(parts), event.time)
        log.flush()

    @hookimpl
    def artifact_committed(self, event: events.ArtifactCommitted) -> None:
        """Note an output."""
        log = self._log(event.run)
        log.text(f"outputs/{event.artifact.flow}", markdown.table("Output", [event.artifact.row()]), event.time)
        log.flush()

    @hookimpl
    def outputs_hashed(self, event: events.OutputsHashed) -> None:
        """Note the outputs' hashes."""
        rows = [{"path": path, "DVC hash": digest} for path, digest in event.outputs.items()]
        self._write_text(event.run, "outputs/hashes", markdown.table("Outputs", rows), event.time)

    @hookimpl
    def stage_finished(self, event: events.StageFinished) -> None:
        """Write what the stage took, and close its trial."""
        log = self._log(event.run)
        log.scalar("system/seconds", event.seconds, event.time, 0)
        log.scalar("system/peak_memory_megabytes", event.peak_memory / MEGABYTE, event.time, 0)
        for name, value in event.metrics.items():
            if not log.has(f"results/{name}"):  # most were written when the stage told them
                log.scalar(f"results/{name}", value, event.time, None)
        log.text("results", markdown.table("Results", [{"result": n, "value": v} for n, v in event.metrics.items()]), event.time)
        log.end("FINISHED", event.time)
        log.flush()

    @hookimpl
    def stage_failed(self, event: events.StageFailed) -> None:
        """Write what went wrong. A killed run may be continued, so only a failed one's trial is closed."""
        log = self._log(event.run)
        log.text(
            "error", markdown.code(redaction.text(f"{event.status}: {event.error}\n\n{event.traceback}".rstrip())), event.time
        )
        if event.status == "FAILED":
            log.end("FAILED", event.time)
        log.flush()

    @hookimpl
    def stage_restored(self, event: events.StageRestored) -> None:
        """Note a stage that DVC did not run; the event has no time, so the session's beginning stands for it."""
        rows = [{"path": path, "DVC hash": digest} for path, digest in event.outputs.items()]
        title = f"{event.stage}: {event.state}" + (f", fingerprint {event.fingerprint}" if event.fingerprint else "")
        began = self._log(event.session).began
        self._write_text(event.session, f"restored/{event.stage}", markdown.table(title, rows), began)

    @hookimpl
    def session_finished(self, event: events.SessionFinished) -> None:
        """Note how the session ended."""
        self._write_text(event.session, "status", event.status, event.time)

    def _write_text(self, run: str, tag: str, content: str, time: float) -> None:
        log = self._log(run)
        log.text(tag, content, time)
        log.flush()

    def _begin(self, group: str, run: str, time: float) -> EventLog:
        """The log of a run, in a new folder named after its beginning unless it has one."""
        if not self._found(run):
            moment = datetime.fromtimestamp(time, tz=UTC).strftime("%Y%m%d-%H%M%S")
            (self._root / group / f"{moment}-{run}").mkdir(parents=True)
        return self._log(run)

    def _log(self, run: str) -> EventLog:
        if run not in self._logs:
            self._logs[run] = self._make(self._folder(run))
        return self._logs[run]

    def _folder(self, run: str) -> Path:
        """The folder of a run.

        Raises:
            LookupError: its start was never written.
        """
        found = self._found(run)
        if not found:
            raise LookupError(f"run {run} is not below {self._root}")
        return found[0]

    def _found(self, run: str) -> list[Path]:
        return [folder for folder in sorted(self._root.glob("*/*")) if folder.name.partition("-")[2].partition("-")[2] == run]


def _write_chart(log: EventLog, event: events.ArtifactLogged, chart: Mapping[str, object]) -> None:
    """The data as a table, and as curves where x is made of whole numbers."""
    log.text(f"charts/{event.name}", markdown.chart_table(chart), event.time)
    x, series = chart["x"], chart["series"]
    assert isinstance(x, list)
    assert isinstance(series, Mapping)
    if not all(isinstance(place, int | float) and float(place).is_integer() for place in x):
        return
    for name, values in series.items():
        for place, value in zip(x, values, strict=True):
            log.scalar(f"charts/{event.name}/{name}", value, event.time, int(place))


def _facts(event: events.StageStarted) -> list[Mapping[str, object]]:
    facts = {
        "command": redaction.text(event.command),
        "seed": event.seed,
        "fingerprint": event.fingerprint,
        "directory": event.directory,
        "session": event.session,
        "experiment": event.experiment,
        "why it ran": "; ".join(event.reasons),
        "continued from": event.resumed_from,
        "checkpoints": "; ".join(event.passed_over),
    }
    return [{"": name, " ": value} for name, value in facts.items() if value != ""]


def _hidden(content: Mapping[str, object]) -> Mapping[str, object]:
    hidden = redaction.tree(content)
    assert isinstance(hidden, Mapping)
    return hidden
