"""Where the embedded store's artifacts lie: MLflow keeps absolute addresses, which a copied or renamed workspace takes along."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from workbench.errors import WorkbenchError
from workbench_tracker_mlflow import schema, tags

FOLDER = Path(".workbench")
ARTIFACTS = FOLDER / "artifacts"
_LOOKED_AT = 1_000
"""Newest runs whose artifacts are looked for."""
_log = logging.getLogger(__name__)


def address(workspace: Path) -> str:
    """Of the artifacts of a workspace's embedded store."""
    return (workspace / ARTIFACTS).as_uri()


def former(workspace: Path, file: Path) -> list[str]:
    """The addresses in a store that are those of another workspace's artifacts.

    Args:
        workspace: the main workspace.
        file: its SQLite file.
    """
    with schema.connect(file) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'").fetchone():
            return []
        query = "SELECT DISTINCT artifact_location FROM experiments WHERE artifact_location LIKE ?"
        found = [str(row[0]) for row in database.execute(query, (f"file:%/{ARTIFACTS}",))]
    here = (workspace / ARTIFACTS).resolve()
    return [place for place in found if _path(place).resolve() != here]


def bring_here(workspace: Path, file: Path) -> None:
    """Let a store that was copied or moved with its workspace name the artifacts beside it, wherever it names others.

    Raises:
        WorkbenchError: there are no artifacts beside it, and those that it names are there: they belong to another workspace.
    """
    here = address(workspace)
    for place in former(workspace, file):
        if not (workspace / ARTIFACTS).is_dir() and _path(place).is_dir():
            what = f"the artifacts of this store lie in another workspace, at {_path(place)}, and would be written there"
            fix = f"copy that folder to {workspace / ARTIFACTS}, or remove the file: `workbench sync --again` makes it anew"
            raise WorkbenchError(what, str(file), fix)
        with closing(sqlite3.connect(file)) as database, database:
            changed = sum(_replace(database, table, place, here) for (table,) in database.execute(_TABLES).fetchall())
        _log.warning("%s came from another folder: %d addresses below %s are now below %s", file, changed, place, here)


def without_artifacts(file: Path, workspace: Path) -> list[str]:
    """Ids of finished runs, of the newest, whose artifacts are gone; each run of the workbench has some."""
    query = (
        "SELECT runs.run_uuid, runs.artifact_uri FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid AND tags.key = ? "
        "WHERE runs.lifecycle_stage = 'active' AND runs.status = 'FINISHED' ORDER BY runs.start_time DESC LIMIT ?"
    )
    places, here = former(workspace, file), address(workspace)
    with schema.connect(file) as database:
        rows = database.execute(query, (tags.ROLE, _LOOKED_AT)).fetchall()
    missing = []
    for run, uri in rows:
        moved = next((here + uri.removeprefix(place) for place in places if str(uri).startswith(f"{place}/")), str(uri))
        if moved.startswith("file:") and not _path(moved).is_dir():
            missing.append(str(run))
    return missing


_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"


def _replace(database: sqlite3.Connection, table: str, old: str, new: str) -> int:
    """Replace the beginning of every address in a table; returns how many there were."""
    changed = 0
    for _, column, kind, *_ in database.execute(f'PRAGMA table_info("{table}")').fetchall():
        if str(kind).upper().startswith(("VARCHAR", "TEXT", "CHAR")):
            where = f'"{column}" = ? OR substr("{column}", 1, ?) = ?'
            command = f'UPDATE "{table}" SET "{column}" = ? || substr("{column}", ?) WHERE {where}'  # noqa: S608 - MLflow's own names
            changed += database.execute(command, (new, len(old) + 1, old, len(old) + 1, f"{old}/")).rowcount
    return changed


def _path(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))
