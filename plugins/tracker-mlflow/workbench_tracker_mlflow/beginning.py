"""What a run of MLflow is made with: its name and its first tags."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from workbench import events, redaction
from workbench.artifacts import digests
from workbench_tracker_mlflow import description, tags

if TYPE_CHECKING:
    from mlflow.entities import Run

WHY_LENGTH = 1_000
_INHERITED = (tags.COMMIT, tags.BRANCH, tags.REMOTE, tags.DIRTY, tags.SOURCE_NAME, tags.SOURCE_TYPE)


def session_name(event: events.SessionStarted) -> str:
    """The experiment's name, or the command and the commit."""
    if event.experiment:
        return event.experiment
    revision = f" · {event.commit[:7]}{'+' if event.dirty else ''}" if event.commit else ""
    return f"{redaction.text(event.command)[:60]}{revision}"


def session_tags(event: events.SessionStarted) -> dict[str, str]:
    """Of the parent run of a ``dvc repro``."""
    known = {
        tags.ROLE: "session",
        tags.SESSION: event.session,
        tags.COMMAND: redaction.text(event.command),
        tags.DIRECTORY: event.directory,
        **tags.as_json(tags.PIPELINE, event.stages),
        tags.SOURCE_TYPE: "LOCAL",
        tags.SOURCE_NAME: redaction.text(event.command),
        tags.DIRTY: str(event.dirty).lower(),
        tags.EXPERIMENT: event.experiment,
        tags.COMMIT: event.commit,
        tags.BRANCH: event.branch,
        tags.REMOTE: redaction.text(event.remote),
    }
    return {name: value for name, value in known.items() if value}


def stage_name(event: events.StageStarted) -> str:
    """Stage and plugin."""
    return f"{event.stage} · {event.plugin}{' · reproduction' if event.reproduces else ''}"


def stage_tags(event: events.StageStarted, session: Run | None) -> dict[str, str]:
    """Of a stage's run; of each attempt anew, where it was killed."""
    known = {
        tags.ROLE: "stage",
        tags.RUN: event.run,
        tags.SESSION: event.session,
        tags.STAGE: event.stage,
        tags.ENTRY: event.entry,
        tags.KIND: event.kind,
        tags.PLUGIN: event.plugin,
        tags.FINGERPRINT: event.fingerprint,
        tags.CONDITION: _condition(event),
        tags.MACHINE: digests.of_record(event.machine),
        tags.COMMAND: redaction.text(event.command),
        tags.DIRECTORY: event.directory,
        tags.STARTED: repr(event.time),
        tags.EXPERIMENT: event.experiment,
        tags.RESUMED_FROM: event.resumed_from,
        tags.PASSED_OVER: "; ".join(event.passed_over),
        tags.REPRODUCES: event.reproduces,
        tags.WHY: redaction.text("; ".join(event.reasons))[:WHY_LENGTH],
        **tags.as_json(tags.INPUTS, description.as_records([asdict(artifact) for artifact in event.inputs])),
        **{tags.input_digest(artifact.path): artifact.digest for artifact in event.inputs},
    }
    if session is not None:
        known |= {name: session.data.tags.get(name, "") for name in _INHERITED}
        known[tags.PARENT] = session.info.run_id
    return {name: value for name, value in known.items() if value}


def _condition(event: events.StageStarted) -> str:
    chosen = {key: value for key, value in event.lock.items() if key != "seed"}
    return digests.of_record([chosen, {artifact.flow: artifact.digest for artifact in event.inputs}])
