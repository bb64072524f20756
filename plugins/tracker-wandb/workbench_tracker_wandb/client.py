"""What W&B's own code does: writing logs offline and uploading them, in a process group that does not outlive the call."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from workbench_tracker_wandb.notes import id_of

LOGS = "wandb"
"""The folder that W&B makes for its runs."""
SERVICE = ".service"
"""Folder, within that one, of what W&B keeps for itself."""
_WRITTEN = ".written"
_PATIENCE = 3600.0
"""Seconds; W&B's client writes some thousand points of a curve in one."""
_LINES_SHOWN = 5
_log = logging.getLogger(__name__)


def write(root: Path, notes: Sequence[Path], project: str, entity: str) -> None:
    """Write the logs of those runs anew whose notes have grown since.

    Raises:
        ConnectionError: not all were written; the message ends as the process's output did.
    """
    stale = [file for file in notes if not is_written(file)]
    if stale:
        variables = {"WANDB_MODE": "offline", "WANDB_PROJECT": project, **({"WANDB_ENTITY": entity} if entity else {})}
        said = _run(["workbench_tracker_wandb.writing", *map(str, stale)], root, {**_foreign(), **variables})
        _demand([file.stem for file in stale if not is_written(file)], "was not written", said)
        if said.strip():
            _log.warning("W&B said while it wrote:\n%s", said.rstrip())


def upload(root: Path) -> None:
    """Bring every log that is new to the server. What is there of its run already is replaced.

    Raises:
        ConnectionError: not all of them were taken; the message ends as the command's output did.
    """
    logs = [log for log in sorted(root.glob(f"{LOGS}/*/*.wandb")) if not _is_uploaded(log)]
    if logs:
        said = _run(["wandb", "sync", *map(str, logs)], root, {**os.environ, "WANDB_MODE": "online"})
        missing = [log.stem for log in logs if not _is_uploaded(log)]
        _demand(missing, "was not taken by W&B; see that WANDB_API_KEY is set and valid", said)


def is_written(notes: Path) -> bool:
    """Whether the run's log holds all of its notes."""
    marker = notes.with_suffix(_WRITTEN)
    return marker.exists() and marker.read_text(encoding="utf-8") == str(notes.stat().st_size)


def note_written(notes: Path, size: int) -> None:
    """Remember how many bytes of the notes the run's log holds."""
    notes.with_suffix(_WRITTEN).write_text(str(size), encoding="utf-8")


def notes_of(root: Path, run: str) -> Path:
    """Where the notes of a run are kept."""
    return root / LOGS / ".events" / f"{id_of(run)}.jsonl"


def _demand(missing: Sequence[str], what: str, said: str) -> None:
    if missing:
        shown = "\n".join(said.strip().splitlines()[-_LINES_SHOWN:])
        raise ConnectionError(f"{', '.join(missing)} {what}. W&B said:\n{shown}")


def _run(module: Sequence[str], root: Path, environment: Mapping[str, str]) -> str:
    process = subprocess.Popen(
        [sys.executable, "-m", *module],
        cwd=root,
        env={**environment, **_places(root), "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        return process.communicate(timeout=_PATIENCE)[0]
    except subprocess.TimeoutExpired:
        return f"it was stopped after {_PATIENCE:g} s"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its service, if that was left
        process.wait()


def _places(root: Path) -> dict[str, str]:
    """Everything that W&B's code would write below the home or among temporary files is kept in the folder."""
    service = root / LOGS / SERVICE
    for folder in ("wandb", "tmp"):
        (service / folder).mkdir(parents=True, exist_ok=True)
    places = {f"WANDB_{name}_DIR": str(service / name.lower()) for name in ("CACHE", "CONFIG", "DATA", "ARTIFACT")}
    return {**places, "WANDB_DIR": str(service), "TMPDIR": str(service / "tmp"), "WANDB_ERROR_REPORTING": "false"}


def _foreign() -> dict[str, str]:
    """The environment without what would steer W&B's client, its key among it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}


def _is_uploaded(log: Path) -> bool:
    return log.with_name(f"{log.name}.synced").exists()  # left by W&B's command
