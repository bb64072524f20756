"""The tracker: each lifecycle event, noted for the run it belongs to; W&B's client writes the runs at the session's end."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from workbench import events, hookimpl, redaction
from workbench.errors import ParamsError
from workbench.kinds.tracker import Tracker
from workbench.plugin import Config
from workbench_tracker_wandb import client
from workbench_tracker_wandb.notes import Notes, id_of

Mode = Literal["offline", "online"]
MODES: tuple[Mode, ...] = ("offline", "online")
DEFAULT_PROJECT = "workbench"


class WandbConfig(Config):
    """Where the tracker writes; what is empty is left to the environment."""

    mode: Literal["", "offline", "online"] = ""
    """``offline`` keeps the runs in the folder; ``online`` also uploads them at the end of each `dvc repro`. Empty takes
    ``WANDB_MODE``, or ``offline``."""
    folder: str = Field(".workbench", min_length=1)
    """Folder, relative to the workspace, in which W&B makes its folder ``wandb`` of the runs."""
    project: str = ""
    """Project of the runs; empty takes ``WANDB_PROJECT``, or ``workbench``."""
    entity: str = ""
    """User or team that the project belongs to; empty takes ``WANDB_ENTITY``, or whom the API key belongs to."""


class WandbTracker(Tracker[WandbConfig]):
    """Params, curves, results, tables and texts as runs of Weights & Biases (https://docs.wandb.ai)."""

    name = "wandb"
    Config = WandbConfig

    def open(self, workspace: Path) -> None:
        """Look where the notes are; nothing is written before the first event.

        Raises:
            ParamsError: ``WANDB_MODE`` is none of the modes.
        """
        self._mode = _mode(self.config)
        self._root = workspace / self.config.folder
        self._known: dict[str, Notes] = {}

    def close(self) -> None:
        """Forget what was read; all is written already."""
        self._known.clear()

    @hookimpl
    def session_started(self, event: events.SessionStarted) -> None:
        """Note what the session started from."""
        self._notes(event.session).add(event, files=_contents(event.files))

    @hookimpl
    def stage_started(self, event: events.StageStarted) -> str:
        """Note the run's configuration, also where it takes up one that was killed."""
        self._notes(event.run).add(event)
        self._notes(event.session).add(event)
        return f"W&B run {id_of(event.run)}"

    @hookimpl
    def metrics_logged(self, events: list[events.MetricsLogged]) -> None:
        """Note numbers; those without a step are results."""
        self._notes(events[0].run).add(*events)

    @hookimpl
    def alert_raised(self, event: events.AlertRaised) -> None:
        """Note what a person should look at; of one name, the newest stands."""
        self._notes(event.run).add(event)

    @hookimpl
    def artifact_logged(self, event: events.ArtifactLogged, file: str) -> None:
        """Note a table, a chart or a text."""
        self._notes(event.run).add(event, files={"content": Path(file).read_text(encoding="utf-8")})

    @hookimpl
    def generation_logged(self, event: events.GenerationLogged) -> None:
        """Note a generated text, for a table of all of them."""
        self._notes(event.run).add(event)

    @hookimpl
    def artifact_committed(self, event: events.ArtifactCommitted) -> None:
        """Note an output."""
        self._notes(event.run).add(event)

    @hookimpl
    def outputs_hashed(self, event: events.OutputsHashed) -> None:
        """Note the outputs' hashes."""
        self._notes(event.run).add(event)

    @hookimpl
    def stage_finished(self, event: events.StageFinished) -> None:
        """Note the results and what the stage took."""
        self._note_end(event)

    @hookimpl
    def stage_failed(self, event: events.StageFailed) -> None:
        """Note what went wrong."""
        self._note_end(event)

    @hookimpl
    def stage_restored(self, event: events.StageRestored) -> None:
        """Note a stage that DVC did not run."""
        self._notes(event.session).add(event)

    @hookimpl
    def session_finished(self, event: events.SessionFinished) -> None:
        """Have W&B's client write the session and its runs; upload them where that is wanted."""
        session = self._notes(event.session)
        session.add(event, files=_contents(event.files))
        notes = [client.notes_of(self._root, run) for run in (*session.runs, event.session)]
        project = self.config.project or os.environ.get("WANDB_PROJECT") or DEFAULT_PROJECT
        client.write(self._root, notes, project, self.config.entity or os.environ.get("WANDB_ENTITY", ""))
        if self._mode == "online":
            client.upload(self._root)

    def _note_end(self, event: events.StageFinished | events.StageFailed) -> None:
        """In the notes of the run, and of the session that it was last started in."""
        notes = self._notes(event.run)
        notes.add(event)
        if notes.session:
            self._notes(notes.session).add(event)

    def _notes(self, run: str) -> Notes:
        if run not in self._known:
            self._known[run] = Notes(client.notes_of(self._root, run))
        return self._known[run]


def _mode(config: WandbConfig) -> Mode:
    mode = config.mode or os.environ.get("WANDB_MODE") or "offline"
    if mode not in MODES:
        fix = "set it to offline or online; to record nothing, take wandb out of `trackers:` in compute.yaml"
        raise ParamsError(f"the mode {mode!r} is not known to the tracker wandb", "environment variable WANDB_MODE", fix)
    return mode


def _contents(files: Mapping[str, str]) -> dict[str, str]:
    """Name → content of those that are there, without secrets."""
    found = {name: Path(path).read_bytes() for name, path in files.items() if Path(path).is_file()}
    return {name: redaction.file(name, content).decode("utf-8", "replace") for name, content in found.items()}
