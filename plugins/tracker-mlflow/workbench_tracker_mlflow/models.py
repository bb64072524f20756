"""Models as logged models, and the pipeline's final one in the registry, with bytes that never change."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.artifacts import digests
from workbench.events import Artifact
from workbench_tracker_mlflow import tags
from workbench_tracker_mlflow.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run

ALIAS = "candidate"
_SMALL_FILES = ("config.json", "generation_config.json")


@dataclass(frozen=True)
class Model:
    """A model that a stage made."""

    path: str
    """Path below the workspace."""
    digest: str
    """DVC's hash."""
    run: str
    """MLflow run that made it."""
    stage: str
    workspace: Path
    """Where its stage ran."""


def made_by(run: Run) -> Iterator[Model]:
    """The models among a run's outputs whose hashes are known."""
    known = run.data.tags
    for record in tags.read_json(known, tags.OUTPUTS, []):
        digest = known.get(tags.output_digest(record["path"]))
        if record["format"] == "model" and digest:
            yield Model(record["path"], digest, run.info.run_id, known[tags.STAGE], Path(known[tags.DIRECTORY]))


def log_inputs(store: Store, run: str, inputs: Sequence[Artifact]) -> None:
    """Link a run to the logged models that it reads."""
    from mlflow.entities import LoggedModelInput

    digests_read = [artifact.digest for artifact in inputs if artifact.format == "model" and artifact.digest]
    found = [LoggedModelInput(model) for digest in digests_read if (model := find(store, digest)) is not None]
    if found:
        store.client.log_inputs(run, models=found)


def find(store: Store, digest: str) -> str | None:
    """Id of the logged model with these bytes, the newest one if several runs made them."""
    found = store.client.search_logged_models(
        [store.experiment],
        f"tags.`{tags.DIGEST}` = '{digest}'",
        max_results=1,
        order_by=[{"field_name": "creation_timestamp", "ascending": False}],
    )
    return str(found[0].model_id) if found else None


def log(store: Store, model: Model) -> str:
    """Record a model as an output of its run, once; returns the logged model's id.

    Its weights stay where DVC keeps them, under the digest; the page holds its configuration and how to fetch it.
    """
    from mlflow.entities import LoggedModelOutput

    known = store.client.search_logged_models([store.experiment], f"source_run_id = '{model.run}'", max_results=20)
    for candidate in known:
        if candidate.tags.get(tags.DIGEST) == model.digest:
            return str(candidate.model_id)
    made = store.client.create_logged_model(
        store.experiment,
        name=Path(model.path).name,
        source_run_id=model.run,
        tags={tags.DIGEST: model.digest, tags.STAGE: model.stage, "workbench.path": model.path},
        model_type="transformers",
    )
    with tempfile.TemporaryDirectory() as folder:
        _write_page(Path(folder), model)
        store.client.log_model_artifacts(made.model_id, folder)
    store.client.finalize_logged_model(made.model_id, "READY")
    store.client.log_outputs(model.run, [LoggedModelOutput(made.model_id, 0)])
    return str(made.model_id)


def register(store: Store, name: str, model: Model, model_id: str) -> str:
    """Register the model under ``name`` with the alias ``candidate``; returns what was done, for people.

    The bytes are copied first and hashed as copies, so what is registered is what the digest says. The same bytes
    are not registered twice: the alias moves to the version that has them.
    """
    version = _version_of(store, name, model.digest)
    if version is None:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "model"
            if not _copy(model.workspace / model.path, copy, model.digest):
                return f"not registered: the files at {model.path} are no longer those with hash {model.digest}"
            store.client.log_model_artifacts(model_id, str(copy))
        version = _create_version(store, name, model, model_id)
    store.client.set_registered_model_alias(name, ALIAS, version)
    return f"version {version} of {name}"


def _copy(source: Path, target: Path, digest: str) -> bool:
    if not source.is_dir():
        return False
    shutil.copytree(source, target)
    return digests.of(target) == digest


def _create_version(store: Store, name: str, model: Model, model_id: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        store.client.create_registered_model(name, description="The final models of the pipeline, by their DVC hash.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = store.client.create_model_version(
        name,
        source=store.client.get_logged_model(model_id).artifact_location,
        run_id=model.run,
        tags={tags.DIGEST: model.digest, tags.STAGE: model.stage},
        description=f"`{model.path}` with DVC hash `{model.digest}`, made by stage {model.stage}.",
        model_id=model_id,
    )
    return str(made.version)


def _version_of(store: Store, name: str, digest: str) -> str | None:
    for version in store.client.search_model_versions(f"name = '{name}'"):
        if version.tags.get(tags.DIGEST) == digest:
            return str(version.version)
    return None


def _write_page(folder: Path, model: Model) -> None:
    source: Mapping[str, str] = {"path": model.path, "dvc_md5": model.digest, "stage": model.stage, "run": model.run}
    (folder / "source.json").write_text(json.dumps(source, indent=1), encoding="utf-8")
    for name in _SMALL_FILES:
        file = model.workspace / model.path / name
        if file.is_file():
            shutil.copyfile(file, folder / name)
