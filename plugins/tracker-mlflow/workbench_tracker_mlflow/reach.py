"""Whether the store can be reached, asked without MLflow, which takes seconds to import."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from workbench.errors import WorkbenchError
from workbench_tracker_mlflow import location, schema
from workbench_tracker_mlflow.outage import SQLITE, of_file, shown
from workbench_tracker_mlflow.store import deleted, tracking_uri

TIMEOUT = 2.0
"""Seconds that a server may take."""
_LARGE = 1 << 28
"""Bytes of a database from which reading all of it takes longer than a check may."""


def check(workspace: Path, experiment: str) -> str:
    """What the store is.

    Raises:
        ConnectionError: it takes no runs.
        WorkbenchError: the same, or artifacts are gone; says how to mend it.
    """
    uri = tracking_uri(workspace)
    if uri.startswith(SQLITE):
        return _check_file(Path(uri.removeprefix(SQLITE)), workspace, experiment)
    if uri.startswith(("http://", "https://")):
        return _check_server(uri, shown(uri))
    return f"{shown(uri)}, which only MLflow itself could ask; `workbench sync` does"


def _check_file(file: Path, workspace: Path, experiment: str) -> str:
    if not file.exists():
        return f"{file} is not there yet; the first run makes it"
    if not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)):
        raise ConnectionError(f"{file} cannot be written to")
    with of_file(file):
        with schema.connect(file) as database:
            runs = database.execute("SELECT count(*) FROM runs").fetchone()[0]
            said = database.execute("PRAGMA quick_check(1)").fetchone()[0] if file.stat().st_size < _LARGE else "ok"
            query = "SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = ?"
            number, stage = database.execute(query, (experiment,)).fetchone() or ("", "active")
        if said != "ok":
            raise ConnectionError(f"{file} is damaged: {' '.join(said.split())}")
        schema.require_current(file)
        if stage != "active":
            raise deleted(experiment, str(number), f"{SQLITE}{file}")
        return f"{file}, {runs} runs{_artifacts(file, workspace)}"


def _artifacts(file: Path, workspace: Path) -> str:
    """What is to be said of a store's artifacts; empty if they are all where the store says."""
    if missing := location.without_artifacts(file, workspace):
        what = f"the artifacts of {len(missing)} runs are gone, of {missing[0]} among them"
        fix = f"bring {workspace / location.ARTIFACTS} back, or `workbench sync --again` writes them again from the journals"
        raise WorkbenchError(what, str(file), fix)
    if places := location.former(workspace, file):
        return f"; it came from another folder, and the next command that opens it puts right what it says of {places[0]}"
    return ""


def _check_server(uri: str, address: str) -> str:
    try:
        with urlopen(f"{uri.rstrip('/')}/health", timeout=TIMEOUT):  # noqa: S310 - http or https, as was looked
            return f"{address} answers"
    except HTTPError as error:
        if error.code < 500:
            return f"{address} answers, with status {error.code}"
        raise ConnectionError(f"{address} answers with status {error.code}") from error
    except (URLError, OSError) as error:
        raise ConnectionError(f"{address} does not answer: {getattr(error, 'reason', error)}") from error
