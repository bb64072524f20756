"""The process in which W&B's client writes logs offline: ``python -m workbench_tracker_wandb.writing NOTES…``."""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import singledispatchmethod
from pathlib import Path
from typing import Any

import wandb

from workbench import events
from workbench.events import AnyEvent
from workbench_tracker_wandb import client, media, notes, params

STEP = "global_step"
"""The metric that curves are drawn over; W&B's own ``_step`` counts the rows of the history."""
LONGEST_TAG = 64
"""Characters; W&B refuses longer ones."""
MEGABYTE = 1e6
_EXIT_CODES: Mapping[str, int] = {"FINISHED": 0, "FAILED": 1, "KILLED": 1}


class Writer:
    """Tells W&B's client the notes of one run, or of one session."""

    def __init__(self, run: wandb.Run) -> None:
        self._run = run
        self._points: set[tuple[str, int]] = set()
        self._curves: set[str] = set()
        self._generations: list[Mapping[str, object]] = []
        self._started: dict[str, events.StageStarted] = {}
        self._summary: dict[str, object] = {}
        self._files: Mapping[str, str] = {}
        self._exit_code = 1

    def write(self, told: list[notes.Note]) -> int:
        """Tell everything, and return the run's exit code. What W&B does not take is printed, and holds up nothing else."""
        for note in told:
            self._files = note.files
            try:
                self._take(note.event)
            except Exception:  # noqa: BLE001  W&B's client may raise anything
                traceback.print_exc()
        if self._generations:
            self._table("generations", self._generations, told[-1].event)
        self._run.summary.update(self._summary)
        return self._exit_code

    @singledispatchmethod
    def _take(self, event: AnyEvent) -> None:
        """An event that W&B has no place for."""

    @_take.register
    def _(self, event: events.SessionStarted) -> None:
        self._save(self._files)

    @_take.register
    def _(self, event: events.StageStarted) -> None:
        self._started.setdefault(event.run, event)
        if self._is_own(event):
            self._save({"lock_entry.json": _record(event.lock), "machine.json": _record(event.machine)})
            if event.inputs:
                self._table("inputs", [item.row() for item in event.inputs], event)

    @_take.register
    def _(self, event: events.MetricsLogged) -> None:
        if event.step is None:
            self._summary |= _results(event.values)
            return
        fresh = {name: value for name, value in event.values.items() if (name, event.step) not in self._points}
        self._points.update((name, event.step) for name in fresh)
        if fresh:
            self._log({**fresh, STEP: event.step}, event)
        for name in [name for name in fresh if name not in self._curves]:
            self._curves.add(name)
            self._run.define_metric(name, step_metric=STEP)

    @_take.register
    def _(self, event: events.AlertRaised) -> None:
        self._summary[f"alerts/{event.name}"] = event.message

    @_take.register
    def _(self, event: events.ArtifactLogged) -> None:
        key, content = f"{event.content}s/{Path(event.file).stem}", self._files["content"]
        if event.content == "table":
            self._table(key, json.loads(content), event)
        else:
            self._log({key: media.page(content) if event.content == "text" else media.chart(json.loads(content))}, event)

    @_take.register
    def _(self, event: events.GenerationLogged) -> None:
        known = {"prompt": event.prompt, "output": event.output, "tokens": event.tokens, "score": event.score}
        self._generations.append(known)

    @_take.register
    def _(self, event: events.ArtifactCommitted) -> None:
        self._table(f"outputs/{event.artifact.flow}", [event.artifact.row()], event)

    @_take.register
    def _(self, event: events.OutputsHashed) -> None:
        self._summary |= {f"outputs/{path}": digest for path, digest in event.outputs.items()}

    @_take.register
    def _(self, event: events.StageFinished) -> None:
        self._end(event, "FINISHED")
        if self._is_own(event):
            took = {"system/seconds": event.seconds, "system/peak_memory_megabytes": event.peak_memory / MEGABYTE}
            self._summary |= {**_results(event.metrics), **took}

    @_take.register
    def _(self, event: events.StageFailed) -> None:
        self._end(event, event.status)
        if self._is_own(event):
            said = f"{event.status}: {event.error}\n\n{event.traceback}".rstrip()
            self._log({"error": media.page(said)}, event)

    @_take.register
    def _(self, event: events.StageRestored) -> None:
        facts = {"state": event.state, "fingerprint": event.fingerprint, "outputs": event.outputs}
        self._summary[f"restored/{event.stage}"] = facts

    @_take.register
    def _(self, event: events.SessionFinished) -> None:
        self._save(self._files)
        self._summary["status"] = event.status
        self._exit_code = _EXIT_CODES[event.status]

    def _end(self, event: events.Event, status: str) -> None:
        """How a stage ended, in its own run or in its session's."""
        begun = self._started[event.run]
        if self._is_own(event):
            self._summary |= {"status": status, "system/elapsed_seconds": event.time - begun.time}
            self._exit_code = _EXIT_CODES[status]
        else:
            self._summary[f"stages/{begun.stage}"] = {"run": event.run, "status": status, "seconds": event.time - begun.time}

    def _is_own(self, event: events.Event) -> bool:
        return bool(notes.id_of(event.run) == self._run.id)

    def _table(self, key: str, rows: list[Mapping[str, object]], event: AnyEvent) -> None:
        self._log({key: media.table(rows)}, event)
        if len(rows) > media.ROWS_KEPT:
            self._summary[f"{key} (rows left out)"] = len(rows) - media.ROWS_KEPT

    def _log(self, row: Mapping[str, object], event: AnyEvent) -> None:
        time = {} if isinstance(event, events.StageRestored) else {"_timestamp": event.time}
        self._run.log({**row, **time})

    def _save(self, files: Mapping[str, str]) -> None:
        for name, content in files.items():
            file = Path(self._run.dir) / Path(name).name
            file.write_text(content, encoding="utf-8")
            self._run.save(file, base_path=self._run.dir, policy="now")


def write(file: Path) -> None:
    """Write a run's log in the place of the one before."""
    size = file.stat().st_size
    told = notes.read(file)
    logs, id = file.parent.parent, file.stem
    for log in logs.glob(f"*/run-{id}.wandb"):
        shutil.rmtree(log.parent)
    data = logs / client.SERVICE / "data" / id
    shutil.rmtree(data, ignore_errors=True)
    os.environ["WANDB_DATA_DIR"] = str(data)  # the tables of the log, until it is uploaded
    described = _described(id, [note.event for note in told])
    code = 1
    run = wandb.init(dir=logs.parent, id=id, settings=_settings(**described.pop("git", {})), **described)
    try:
        code = Writer(run).write(told)
    finally:
        run.finish(exit_code=code)
    client.note_written(file, size)


def _settings(**git: str) -> wandb.Settings:
    """Nothing is looked up, sampled or printed: what there is to say, the notes say."""
    return wandb.Settings(
        console="off",
        silent=True,
        symlink=False,
        host="",
        disable_git=True,
        disable_code=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
        **git,
    )


def _described(id: str, told: list[AnyEvent]) -> dict[str, Any]:
    """What ``wandb.init`` is told of a run, or else of a session."""
    begun = [event for event in told if isinstance(event, events.StageStarted) and notes.id_of(event.run) == id]
    return _stage(begun[0].time, begun[-1]) if begun else _session(next(e for e in told if isinstance(e, events.SessionStarted)))


def _session(event: events.SessionStarted) -> dict[str, Any]:
    known = {"command": event.command, "branch": event.branch, "experiment": event.experiment, "remote": event.remote}
    facts = {name: value for name, value in known.items() if value}
    config = {**facts, "commit": event.commit, "dirty": event.dirty, "stages": event.stages, "began": _moment(event.time)}
    git = {"git_commit": event.commit, "git_remote_url": event.remote}
    name = event.experiment or "dvc repro"
    return {"name": name, "group": notes.id_of(event.session), "job_type": "session", "config": config, "git": git}


def _stage(began: float, event: events.StageStarted) -> dict[str, Any]:
    facts = {"run": event.run, "session": event.session, "stage": event.stage, "fingerprint": event.fingerprint}
    inputs = {artifact.flow: artifact.digest for artifact in event.inputs}
    return {
        "name": event.stage,
        "group": notes.id_of(event.session),
        "job_type": event.kind,
        "tags": [tag[:LONGEST_TAG] for tag in (event.plugin, event.experiment) if tag],
        "notes": _notes(event),
        "config": {**params.of_entry(event.lock), "workbench": {**facts, "began": _moment(began)}, "inputs": inputs},
    }


def _notes(event: events.StageStarted) -> str:
    facts = {
        "why it ran": "; ".join(event.reasons),
        "command": event.command,
        "directory": event.directory,
        "continued from": event.resumed_from,
        "checkpoints passed over": "; ".join(event.passed_over),
    }
    return "\n\n".join(f"{name}: {' '.join(value.split())}" for name, value in facts.items() if value)


def _results(values: Mapping[str, float]) -> dict[str, float]:
    return {f"results/{name}": value for name, value in values.items()}


def _moment(time: float) -> str:
    return datetime.fromtimestamp(time, tz=UTC).isoformat(timespec="seconds")


def _record(content: Mapping[str, object]) -> str:
    return json.dumps(content, indent=1, sort_keys=True)


def main() -> None:
    """Write the logs of all notes that are named; one that fails holds up no other."""
    for name in sys.argv[1:]:
        try:
            write(Path(name))
        except Exception:  # noqa: BLE001  the same
            traceback.print_exc()


if __name__ == "__main__":
    main()
