"""Whether an SQLite file has the schema of the installed MLflow, looked at without importing it."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from workbench.errors import WorkbenchError

TIMEOUT = 2.0
"""Seconds that a lock on the database may take."""
_MIGRATIONS = Path("store/db_migrations/versions")
_REVISION = re.compile(r"^(down_)?revision = [\"'](\w+)[\"']", re.MULTILINE)


def connect(file: Path) -> closing[sqlite3.Connection]:
    """The database, to be read only."""
    return closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=TIMEOUT))


def require_current(file: Path) -> None:
    """Refuse a store that an older or a newer MLflow has made, which the installed one neither reads nor writes.

    Args:
        file: an SQLite file; one that is no store of MLflow yet is left to MLflow.

    Raises:
        WorkbenchError: says which version is needed, or how to upgrade the store.
        sqlite3.Error: the file cannot be read.
    """
    with connect(file) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
            return
        row = database.execute("SELECT version_num FROM alembic_version").fetchone()
    head, known = _revisions()
    if row is None or not head or row[0] == head:
        return
    installed = f"MLflow {metadata.version('mlflow')}"
    if row[0] in known:
        fix = f"copy it aside, then `mlflow db upgrade sqlite:///{file}`"
        raise WorkbenchError(f"the store has the schema {row[0]} of an older MLflow than {installed}", str(file), fix)
    what = f"the store has the schema {row[0]}, which {installed} does not know: a newer one has made or upgraded it"
    fix = "install the newer MLflow again, or move the file away and run `workbench sync --again`"
    raise WorkbenchError(what, str(file), fix)


@cache
def _revisions() -> tuple[str, frozenset[str]]:
    """The newest schema of the installed MLflow, and all before; empty if they cannot be told."""
    found = find_spec("mlflow")
    folders = found.submodule_search_locations if found else None
    own: set[str] = set()
    earlier: set[str] = set()
    for file in (Path(folders[0]) / _MIGRATIONS).glob("*.py") if folders else ():
        for down, name in _REVISION.findall(file.read_text(encoding="utf-8")):
            (earlier if down else own).add(name)
    heads = own - earlier
    return (heads.pop() if len(heads) == 1 else ""), frozenset(own)
