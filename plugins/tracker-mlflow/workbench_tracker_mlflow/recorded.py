"""What the store holds of a run, as ``workbench reproduce`` needs it."""

from __future__ import annotations

import json
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.answers import RESULTS_LOCK, RESULTS_TEXTS, Circumstances, Record, RecordedStage, kept_file
from workbench.artifacts import dvc_lock
from workbench.errors import WorkbenchError
from workbench_tracker_mlflow import description, tags
from workbench_tracker_mlflow.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run

SEEDS_NEEDED = 3
"""Runs with different seeds that it takes to tell a metric's noise."""
SIBLINGS = 200
_ID_LENGTH = 32
_UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""How MLflow says that there is no run of an id."""


def read(store: Store, name: str, into: Path) -> Record | None:
    """The record of a run; None where there is no such run, or it is neither a stage's nor a session's.

    Args:
        store: the store.
        name: MLflow's run id, or its first characters.
        into: folder for the session's files.

    Raises:
        WorkbenchError: more than one run begins so.
    """
    run = _find(store, name)
    if run is None or tags.ROLE not in run.data.tags:
        return None
    is_session = run.data.tags[tags.ROLE] == "session"
    session = run.info.run_id if is_session else run.data.tags.get(tags.PARENT, "")
    if session:
        items = store.client.list_artifacts(session)
        if not items:
            raise _gone(f"the files of session {session}")
        for item in items:
            if not item.is_dir:
                store.client.download_artifacts(session, item.path, str(into))
    known = run.data.tags
    stages = list(_pipeline(store, run, into)) if is_session else [_of_run(store, run)]
    title = run.info.run_name or run.info.run_id
    return Record(title, stages, not is_session, known.get(tags.COMMIT, ""), known.get(tags.DIRTY) == "true", session, into)


def _find(store: Store, name: str) -> Run | None:
    from mlflow.exceptions import MlflowException

    if len(name) == _ID_LENGTH:
        try:
            found: Run = store.client.get_run(name)
        except MlflowException as error:
            if error.error_code in _UNKNOWN:
                return None
            raise
        return found
    matching = store.starting_with(name) if re.fullmatch("[0-9a-f]+", name) else []
    if len(matching) > 1:
        raise WorkbenchError(f"more than one run begins with {name}", "the MLflow store", "give more characters of its id")
    return matching[0] if matching else None


def _of_run(store: Store, run: Run, locked: Mapping[str, Any] | None = None) -> RecordedStage:
    """A stage as its run tells of it; what dvc.lock says of its inputs and outputs counts first."""
    known = run.data.tags
    inputs = {record["path"]: record["digest"] for record in tags.read_json(known, tags.INPUTS, [])}
    prefix = tags.output_digest("")
    outputs = {name.removeprefix(prefix): value for name, value in known.items() if name.startswith(prefix)}
    return RecordedStage(
        stage=known[tags.STAGE],
        command=known[tags.COMMAND],
        lock=dvc_lock.entry(locked) if locked else _json(store, run, "lock_entry.json"),
        inputs=dvc_lock.hashes(locked, "deps") if locked else inputs,
        outputs=dvc_lock.hashes(locked, "outs") if locked else outputs,
        run=run.info.run_id,
        metrics=description.results_of(run),
    )


def _pipeline(store: Store, session: Run, files: Path) -> Iterator[RecordedStage]:
    """Every stage of the session's dvc.lock, with the run that made its outputs where one is known."""
    locked = dvc_lock.parse(_text(files, RESULTS_LOCK))
    texts: dict[str, str] = json.loads(_text(files, RESULTS_TEXTS) or "{}")
    own = {run.data.tags[tags.STAGE]: run for run in _originals(store.children(session.info.run_id))}
    for name in (name for name in tags.read_json(session.data.tags, tags.PIPELINE, []) if name in locked):
        stage = locked[name]
        outputs = {tags.output_digest(path): digest for path, digest in dvc_lock.hashes(stage, "outs").items()}
        maker = own.get(name)
        if maker is None or not outputs.items() <= maker.data.tags.items():
            maker = next(_originals(store.find({tags.STAGE: name} | outputs, limit=20)), None)
        if maker is not None:
            yield _of_run(store, maker, stage)
        else:
            inputs, outs = dvc_lock.hashes(stage, "deps"), dvc_lock.hashes(stage, "outs")
            told = RecordedStage(name, stage["cmd"], dvc_lock.entry(stage), inputs, outs)
            yield replace(told, metrics=json.loads(texts.get(told.metrics_file, "{}")))


def _text(files: Path, name: str) -> str:
    """Content of one of the session's files; empty where it was not kept."""
    file = kept_file(files, name)
    return file.read_text(encoding="utf-8") if file else ""


def _originals(runs: Iterable[Run]) -> Iterator[Run]:
    """Those that repeat no other."""
    return (run for run in runs if tags.REPRODUCES not in run.data.tags)


def _json(store: Store, run: Run, name: str) -> dict[str, Any]:
    import tempfile

    if name not in {item.path for item in store.client.list_artifacts(run.info.run_id)}:
        raise _gone(f"{name} of run {run.info.run_id}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(store.client.download_artifacts(run.info.run_id, name, folder))
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def _gone(what: str) -> WorkbenchError:
    fix = "bring the store's artifacts back, or run `workbench sync --again`, which writes them again from the journals"
    return WorkbenchError(f"{what} is recorded, and is no longer among the store's artifacts", "the MLflow store", fix)


def circumstances(store: Store, run_id: str) -> Circumstances:
    """The machine and the noise of a stage's run."""
    run = store.client.get_run(run_id)
    return Circumstances(_json(store, run, "machine.json"), _noise(store, run))


def _noise(store: Store, run: Run) -> dict[str, float]:
    """Standard deviation of each result over finished runs of the stage that differ in nothing but the seed."""
    if tags.CONDITION not in run.data.tags:
        return {}
    wanted = {name: run.data.tags[name] for name in (tags.STAGE, tags.CONDITION)}
    by_seed: dict[str, dict[str, float]] = {}
    for other in _originals(store.find(wanted, limit=SIBLINGS)):
        if other.info.status == "FINISHED":
            by_seed.setdefault(other.data.params.get("seed", ""), description.results_of(other))
    if len(by_seed) < SEEDS_NEEDED:
        return {}
    values: dict[str, list[float]] = defaultdict(list)
    for results in by_seed.values():
        for name, value in results.items():
            values[name].append(value)
    return {name: statistics.stdev(found) for name, found in values.items() if len(found) >= SEEDS_NEEDED}
