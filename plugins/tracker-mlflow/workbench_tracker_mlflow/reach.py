"""Whether the store can be reached, asked without MLflow, which takes seconds to import."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from workbench_tracker_mlflow.outage import SQLITE, shown
from workbench_tracker_mlflow.store import tracking_uri

TIMEOUT = 2.0
"""Seconds that a server or a lock on the database may take."""
_LARGE = 1 << 28
"""Bytes of a database from which reading all of it takes longer than a check may."""


def check(workspace: Path) -> str:
    """What the store is.

    Raises:
        ConnectionError: it takes no runs.
    """
    uri = tracking_uri(workspace)
    if uri.startswith(SQLITE):
        return _check_file(Path(uri.removeprefix(SQLITE)))
    if uri.startswith(("http://", "https://")):
        return _check_server(uri, shown(uri))
    return f"{shown(uri)}, which only MLflow itself could ask; `workbench sync` does"


def _check_file(file: Path) -> str:
    if not file.exists():
        return f"{file} is not there yet; the first run makes it"
    if not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)):
        raise ConnectionError(f"{file} cannot be written to")
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=TIMEOUT)) as database:
            runs = database.execute("SELECT count(*) FROM runs").fetchone()[0]
            said = database.execute("PRAGMA quick_check(1)").fetchone()[0] if file.stat().st_size < _LARGE else "ok"
    except sqlite3.Error as error:
        raise ConnectionError(f"{file} is no store of MLflow that can be read: {error}") from error
    if said != "ok":
        raise ConnectionError(f"{file} is damaged: {' '.join(said.split())}")
    return f"{file}, {runs} runs"


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
