"""The MLflow store: where it is, and how runs are found in it."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from workbench.errors import WorkbenchError
from workbench_tracker_mlflow import location, outage, schema, tags
from workbench_tracker_mlflow.location import FOLDER

if TYPE_CHECKING:
    from mlflow.entities import Metric, Param, Run
    from mlflow.tracking import MlflowClient

METRICS_PER_BATCH = 1_000
PARAMS_PER_BATCH = 100
MAX_STAGES = 1_000
URI_VARIABLE = "MLFLOW_TRACKING_URI"
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # The server's job runners serve only GenAI features: nine processes of 200 MB each that nothing here uses.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # The defaults keep one call to a dead server waiting for four minutes; the journal loses nothing meanwhile.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}
_log = logging.getLogger(__name__)
_LAST_WRITE = "workbench.last_write"
VIEW = "workbench"
"""Name of the saved view of the table of runs; a UI's address asks for it with ``viewStateShareKey``."""
_COLUMNS = ("tags.`results`", "tags.`why`", "attributes.`Models`")
_WIDTHS = {
    "attributes.`Run Name`": 300,
    "runDateAndNestInfo": 125,
    "duration": 80,
    "tags.`results`": 290,
    "tags.`why`": 280,
    "attributes.`Models`": 110,
}
"""Pixels, by the names that MLflow gives its columns; their order is the columns' order. 1,400 show all but the last."""


class Store:
    """Connection to one experiment of a store. No stage's process makes one: importing MLflow takes seconds."""

    def __init__(self, workspace: Path, experiment: str) -> None:
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        self.uri = tracking_uri(workspace)
        outage.require_listening(self.uri)
        with _without("pandas"):  # MLflow imports it for data frames, which nobody hands it here
            from mlflow.tracking import MlflowClient

        logging.getLogger("alembic").setLevel(logging.WARNING)
        _make_default(self.uri)
        (workspace / FOLDER).mkdir(parents=True, exist_ok=True)
        with FileLock(workspace / FOLDER / "mlflow.lock"):  # processes that create the schema at the same time fail
            if (file := outage.file_of(self.uri)) and file.is_file():
                with outage.of_file(file):
                    schema.require_current(file)
                    if file == _embedded(workspace):
                        location.bring_here(workspace, file)
            self.client: MlflowClient = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
            self.experiment = self._experiment(workspace, experiment)

    def prepare_views(self) -> None:
        """Let the UI open the experiment as model training, with the columns that tell stages apart."""
        view = {"selectedColumns": [*_COLUMNS], "columnOrder": ["0", *_WIDTHS], "columnWidths": _WIDTHS}
        self.client.set_experiment_tag(self.experiment, "mlflow.experimentKind", "custom_model_development")
        self.client.set_experiment_tag(self.experiment, f"mlflow.sharedViewState.{VIEW}", json.dumps(view))

    def page(self) -> str:
        """Address of the table of runs inside the UI."""
        return f"#/experiments/{self.experiment}/runs?workflowType=machine_learning&viewStateShareKey={VIEW}"

    def find(self, wanted: Mapping[str, str], *, limit: int = 1) -> list[Run]:
        """Runs that have all these tags, newest first."""
        text = " and ".join(f"tags.`{name}` = '{_quoted(value)}'" for name, value in wanted.items())
        order = ["attributes.start_time DESC"]
        return list(self.client.search_runs([self.experiment], text, max_results=limit, order_by=order))

    def children(self, session: str) -> list[Run]:
        """The stages' runs in a session's, oldest first."""
        return self.find({tags.PARENT: session}, limit=MAX_STAGES)[::-1]

    def starting_with(self, name: str) -> list[Run]:
        """Runs whose ids begin so, two at most; a deleted one is found too, as by its whole id."""
        from mlflow.entities import ViewType

        text = f"attributes.run_id LIKE '{_quoted(name)}%'"
        return list(self.client.search_runs([self.experiment], text, run_view_type=ViewType.ALL, max_results=2))

    def one(self, wanted: Mapping[str, str]) -> Run | None:
        """The run that has these tags, where no two should; None where there is none.

        MLflow sends a request again that a slow server has not answered, and the server may then carry out both. Of the runs
        that this has made, all but the one that is in use are deleted.
        """
        found = self.find(wanted, limit=10)
        if not found:
            return None
        used = next((run for run in found if tags.NOTE in run.data.tags), found[0])
        for run in found:
            if run is not used:
                _log.warning(
                    "run %s is deleted: a request that was sent twice has made it beside %s", run.info.run_id, used.info.run_id
                )
                self.client.delete_run(run.info.run_id)
        return used

    def set_tags(self, run: str, values: Mapping[str, str]) -> None:
        """Set many tags with few calls."""
        from mlflow.entities import RunTag

        found = [RunTag(name, value[: tags.LONGEST]) for name, value in values.items()]
        for start in range(0, len(found), PARAMS_PER_BATCH):
            self.client.log_batch(run, tags=found[start : start + PARAMS_PER_BATCH])

    def log_metrics(self, run: str, metrics: Sequence[Metric]) -> None:
        """Write metrics in batches; the store drops those that it has."""
        for start in range(0, len(metrics), METRICS_PER_BATCH):
            self.client.log_batch(run, metrics=metrics[start : start + METRICS_PER_BATCH])

    def last_step(self, run: str, metric: str) -> int:
        """The last step at which a metric was written."""
        return max(int(point.step) for point in self.client.get_metric_history(run, metric))

    def log_params(self, run: str, params: Sequence[Param]) -> None:
        """Write params in batches."""
        for start in range(0, len(params), PARAMS_PER_BATCH):
            self.client.log_batch(run, params=params[start : start + PARAMS_PER_BATCH])

    def link(self, run: str) -> str:
        """Address of a run inside the UI."""
        return f"#/experiments/{self.experiment}/runs/{run}"

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn an error that comes from the store, not from what is written, into ConnectionError.

        MLflow raises many exceptions for a server that is down, a full disk and a bad value; where it is not plain which, a
        small write tells.
        """
        try:
            yield
        except Exception as error:
            if outage.is_outage(error) or not self._takes_writes():
                raise ConnectionError(f"{outage.shown(self.uri)} takes no writes: {error}") from error
            raise

    def _takes_writes(self) -> bool:
        try:
            self.client.set_experiment_tag(self.experiment, _LAST_WRITE, f"{time.time():.3f}")
        except Exception:  # noqa: BLE001  whatever it is, the store does not work
            return False
        return True

    def _experiment(self, workspace: Path, name: str) -> str:
        """Id of the experiment of that name, or of the one that had it when the workbench made it, and is renamed since."""
        found = self.client.get_experiment_by_name(name)
        if found is None:
            renamed = self.client.search_experiments(filter_string=f"tags.`{tags.EXPERIMENT_NAME}` = '{_quoted(name)}'")
            found = renamed[0] if renamed else None
        if found is None:
            place = location.address(workspace) if is_database(self.uri) else None
            known = {tags.EXPERIMENT_NAME: name}
            return str(self.client.create_experiment(name, artifact_location=place, tags=known))
        if found.lifecycle_stage != "active":
            raise deleted(name, str(found.experiment_id), self.uri)
        if tags.EXPERIMENT_NAME not in found.tags:
            self.client.set_experiment_tag(found.experiment_id, tags.EXPERIMENT_NAME, name)
        return str(found.experiment_id)


def tracking_uri(workspace: Path) -> str:
    """``MLFLOW_TRACKING_URI``, or a SQLite file in the main workspace."""
    return os.environ.get(URI_VARIABLE) or f"{outage.SQLITE}{_embedded(workspace)}"


def _embedded(workspace: Path) -> Path:
    return (workspace / FOLDER / "mlflow.db").resolve()


def deleted(name: str, number: str, uri: str) -> WorkbenchError:
    """The error that says that an experiment takes no runs."""
    restore = f"MLFLOW_TRACKING_URI={outage.shown(uri, whole=True)} mlflow experiments restore --experiment-id {number}"
    fix = f"`{restore}`, or name another by MLFLOW_EXPERIMENT_NAME"
    return WorkbenchError(f"experiment {name!r} is deleted, and takes no runs", outage.shown(uri), fix)


def exists(workspace: Path) -> bool:
    """Whether there is a store to read; a server is taken to be there."""
    file = outage.file_of(tracking_uri(workspace))
    return file is None or file.is_file()


def is_database(uri: str) -> bool:
    """Whether the store is a database that this machine reads itself, not a server."""
    return uri.split(":", 1)[0].split("+", 1)[0] in ("sqlite", "postgresql", "mysql", "mssql")


def _quoted(value: str) -> str:
    return value.replace("'", "''")


def _make_default(uri: str) -> None:
    """Some of MLflow's own parts ask for the process's store, and would look for ./mlruns.

    MLflow sets the environment variable as well, by which every process that this one starts, for another workspace too, would
    record in this store: it is put back.
    """
    from mlflow import set_tracking_uri

    before = os.environ.get(URI_VARIABLE)
    set_tracking_uri(uri)
    if before is None:
        os.environ.pop(URI_VARIABLE, None)
    else:
        os.environ[URI_VARIABLE] = before


@contextmanager
def _without(package: str) -> Iterator[None]:
    """Let an import of the package fail, unless it is imported already: ``None`` in ``sys.modules`` says that there is none."""
    is_new = sys.modules.setdefault(package, None) is None  # type: ignore[arg-type]
    try:
        yield
    finally:
        if is_new:
            del sys.modules[package]
