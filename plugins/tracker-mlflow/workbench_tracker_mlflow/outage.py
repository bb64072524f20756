"""Whether it is the store that fails, for which the journal waits, and not what is written to it."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

CONNECT_TIMEOUT = 5.0
"""Seconds until a server that keeps silent even to a connection counts as gone."""
SQLITE = "sqlite:///"


def require_listening(uri: str) -> None:
    """See at once that nothing listens where a server should, which MLflow says after five seconds and a slow import.

    Raises:
        ConnectionError: nothing does.
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        return
    if parts.scheme in getproxies() and not proxy_bypass(parts.hostname):
        return  # only the proxy knows
    try:
        socket.create_connection(
            (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)), CONNECT_TIMEOUT
        ).close()
    except OSError as error:
        raise ConnectionError(f"{shown(uri)} does not answer: {error}") from error


def file_of(uri: str) -> Path | None:
    """The file of an SQLite store; None of another."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


@contextmanager
def of_file(file: Path) -> Iterator[None]:
    """Say that an SQLite file cannot be read or written.

    Raises:
        ConnectionError: in place of sqlite3.Error.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise ConnectionError(f"{file} is no store of MLflow that can be read: {error}") from error


def shown(uri: str, *, whole: bool = False) -> str:
    """A store's address without credentials; of an SQLite store its file, or, if asked for, the whole address."""
    parts = urlsplit(uri)
    if uri.startswith(SQLITE):
        return uri if whole else uri.removeprefix(SQLITE)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"


def is_outage(error: BaseException) -> bool:
    """Whether an exception of MLflow's client says for sure that its server, database, network or disk fails.

    A server whose database takes no writes answers 503; one whose disk takes no artifacts 500.
    """
    return any(_is_outage(cause) for cause in _chain(error))


def _is_outage(error: BaseException) -> bool:
    import requests
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return bool(error.error_code == "TEMPORARILY_UNAVAILABLE")
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code >= 500
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError)  # those of requests are OSErrors


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in seen:
        yield following
        seen.append(following)
        following = following.__cause__ or following.__context__
