"""Who holds DVC's locks: the paths that its processes read and write, and whether those processes still run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from workbench.errors import PipelineError
from workbench.lib.processes import is_running

FOLDER = Path(".dvc/tmp")
RWLOCK_FILE = "rwlock"
DVC_LOCK = "lock"


@dataclass(frozen=True)
class Owner:
    """A process that DVC says is reading or writing a path."""

    pid: int
    command: str
    path: str
    mode: Literal["read", "write"]

    def holds(self) -> bool:
        """Whether any process has that pid, even a zombie: this is all DVC checks before it reclaims the lock."""
        return psutil.pid_exists(self.pid)

    def is_dvc(self) -> bool:
        """Whether the process can still be the one that took the lock: pids are reused, and zombies do nothing."""
        try:
            return _is_dvc(psutil.Process(self.pid))
        except psutil.Error:
            return False


def owners(folder: Path) -> list[Owner]:
    """Read the lock file of a workspace.

    Args:
        folder: DVC's folder for temporary files, ``.dvc/tmp``.

    Raises:
        PipelineError: the file is damaged, and no DVC command works until it is removed.
    """
    file = folder / RWLOCK_FILE
    if not file.is_file():
        return []
    try:
        return [*_entries(json.loads(file.read_text(encoding="utf-8")))]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise PipelineError("DVC's lock file is damaged", str(file), f"see that no DVC runs here, then `rm {file}`") from error


def writers(folder: Path) -> list[Owner]:
    """The owners that write and whose pid belongs to a running process."""
    return [owner for owner in owners(folder) if owner.mode == "write" and is_running(owner.pid)]


def _entries(content: dict[str, Any]) -> Iterator[Owner]:
    for path, info in content.get("write", {}).items():
        yield Owner(int(info["pid"]), info["cmd"], path, "write")
    for path, infos in content.get("read", {}).items():
        for info in infos:
            yield Owner(int(info["pid"]), info["cmd"], path, "read")


def stale_hardlink(folder: Path) -> bool:
    """Whether DVC's own lock is a hard link (``core.hardlink_lock``) that a killed process left: it would stay for a year."""
    file = folder / DVC_LOCK
    text = file.read_text(encoding="utf-8", errors="replace").strip() if file.is_file() else ""
    return "/" in text and not any(_runs_dvc(process, folder.parent.parent) for process in psutil.process_iter())


def _runs_dvc(process: psutil.Process, root: Path) -> bool:
    try:
        return _is_dvc(process) and Path(process.cwd()).is_relative_to(root.resolve())
    except psutil.Error:
        return False


def _is_dvc(process: psutil.Process) -> bool:
    return is_running(process.pid) and any(Path(word).name == "dvc" for word in process.cmdline())
