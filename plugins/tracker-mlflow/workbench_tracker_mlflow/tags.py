"""The tags that the tracker writes; whatever reads the store finds runs by them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import count, takewhile
from typing import Any

RUN = "workbench.run"
"""The workbench's id of the run: the name of its journal."""
SESSION = "workbench.session"
ROLE = "workbench.role"
"""``session`` on the parent run of a ``dvc repro``, ``stage`` on the nested ones."""
STAGE = "workbench.stage"
ENTRY = "workbench.entry"
KIND = "workbench.kind"
PLUGIN = "workbench.plugin"
FINGERPRINT = "workbench.fingerprint"
CONDITION = "workbench.condition"
"""Digest of all that decides the result beside the seed and the machine: plugins, their code, configuration, inputs."""
MACHINE = "workbench.machine"
"""Digest of the fingerprint of the machine that ran it."""
COMMAND = "workbench.command"
DIRECTORY = "workbench.directory"
EXPERIMENT_NAME = "workbench.experiment_name"
"""On an experiment: the name by which the workbench looks for it, which somebody may change in the UI."""
STARTED = "workbench.started"
"""Start of the latest attempt, in seconds since the epoch."""
RESUMED_FROM = "workbench.resumed_from"
PASSED_OVER = "workbench.passed_over"
"""Newer checkpoints than that, and what is wrong with each."""
REPRODUCES = "workbench.reproduces"
"""Id of the run that this one repeats."""
VERDICT = "workbench.verdict"
"""What repeating it has shown, and where the two differ first."""
REPRODUCED = "workbench.reproduced."
"""Prefix of the tags of a run that name the runs which repeated it, with their verdicts (JSON)."""
SECONDS = "workbench.seconds"
PEAK_MEMORY = "workbench.peak_memory_bytes"
ERROR = "workbench.error"
NONFINITE = "workbench.nonfinite"
"""Which metrics were NaN or infinite, and when first."""
RESULTS = "workbench.results"
"""JSON: the stage's own metrics, by name."""
KEY_RESULTS = "results"
"""The few results that matter most, for people: a column of the table of runs, where a short name fits."""
ALERT = "alert."
"""Prefix of the tags that say what a person should look at, by the alert's name; for people, to filter by."""
WHY = "why"
"""What had changed, so that the stage ran, for people."""
INPUTS = "workbench.inputs"
OUTPUTS = "workbench.outputs"
"""JSON: list of flow, path, format, rows, size."""
PIPELINE = "workbench.pipeline"
"""JSON: the names of the pipeline's stages, in order."""
DIGEST = "workbench.digest"
"""DVC's hash, on logged models and model versions."""
REGISTRATION = "workbench.registration"
CROWNED = "workbench.champion_since"
"""On a model version: JSON of time, reason and the champion before; of one rolled back, ``workbench.rolled_back`` has it."""
ROLLED_BACK = "workbench.rolled_back"
EXPERIMENT = "workbench.experiment"
CACHED = "workbench.cached."
"""Prefix of the tags of a parent run that say where the result of a stage that did not run came from (JSON)."""
CONTINUED = "workbench.continued."
"""Prefix of the tags of a parent run that name the runs which were killed in it and continued in a later one (JSON)."""

PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"
LOGGED_ARTIFACTS = "mlflow.loggedArtifacts"
COMMIT = "mlflow.source.git.commit"
BRANCH = "mlflow.source.git.branch"
REMOTE = "mlflow.source.git.repoURL"
DIRTY = "mlflow.source.git.dirty"
SOURCE_NAME = "mlflow.source.name"
SOURCE_TYPE = "mlflow.source.type"
USER = "mlflow.user"

LONGEST = 8_000
"""Characters that MLflow keeps of a tag's value."""


def key(name: str) -> str:
    """The name with what MLflow refuses in a key replaced: it takes letters, digits and ``_-.:/`` and spaces."""
    return re.sub(r"[^\w.\-:/ ]", ":", name, flags=re.ASCII).strip("/ ")[:250]


def input_digest(path: str) -> str:
    """Tag that holds the hash of an input."""
    return key(f"workbench.input.{path}")


def output_digest(path: str) -> str:
    """Tag that holds the hash of an output."""
    return key(f"workbench.output.{path}")


def cached(stage: str) -> str:
    """Tag of a parent run for one stage that did not run."""
    return key(f"{CACHED}{stage}")


def alert(name: str) -> str:
    """Tag of a run for what it has raised under that name."""
    return key(f"{ALERT}{name}")


def continued(stage: str) -> str:
    """Tag of a parent run for one stage that was killed in it and continued in a later one."""
    return key(f"{CONTINUED}{stage}")


def reproduced(run: str) -> str:
    """Tag of a run for one other that repeated it."""
    return key(f"{REPRODUCED}{run}")


def records(tags: Mapping[str, str], prefix: str) -> list[Mapping[str, Any]]:
    """Values of all tags with that prefix that hold JSON."""
    found = [read_json(tags, name, None) for name in sorted(tags) if name.startswith(prefix)]
    return [record for record in found if record]


def in_order(stages: Iterable[str], session: Mapping[str, str]) -> list[str]:
    """The stages in the order of the pipeline that the tags of its session tell, those it does not name at the end."""
    order = {name: place for place, name in enumerate(read_json(session, PIPELINE, []))}
    return sorted(stages, key=lambda name: order.get(name, len(order)))


def as_json(name: str, value: Any) -> dict[str, str]:
    """Tags that hold a value as JSON: one, and further ones where it is longer than MLflow keeps of one."""
    text = json.dumps(value)
    parts = [text[start : start + LONGEST] for start in range(0, len(text), LONGEST)]
    return {f"{name}.{number}" if number else name: part for number, part in enumerate(parts)}


def read_json(tags: Mapping[str, str], name: str, default: Any) -> Any:
    """Value of a tag that holds JSON, or of several; parts that a longer value has left behind do not count."""
    parts = takewhile(lambda part: part is not None, (tags.get(f"{name}.{number}") for number in count(1)))
    try:
        return json.JSONDecoder().raw_decode("".join([tags[name], *map(str, parts)]))[0]
    except (KeyError, ValueError):
        return default
