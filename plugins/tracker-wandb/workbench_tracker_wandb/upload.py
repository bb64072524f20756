"""Uploading by W&B's own command, in a process group that does not outlive the call."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_PATIENCE = 600.0
"""Seconds."""
_LINES_SHOWN = 5
_SERVICE = ".service"
"""Folder of what W&B's service keeps for itself, below the tracker's."""


def upload(root: Path) -> None:
    """Bring every run of a folder that has changed since it was last uploaded to the server.

    W&B's command uploads a run as a whole, and what is there already is replaced by the same.

    Raises:
        ConnectionError: not all of them were taken; the message ends as the command's output did.
    """
    logs = [log for log in sorted(root.glob("*/*.wandb")) if not _is_uploaded(log)]
    if not logs:
        return
    for log in logs:
        _marker(log).unlink(missing_ok=True)
    said = _run([sys.executable, "-m", "wandb", "sync", *map(str, logs)], root)
    missing = [log.stem for log in logs if not _marker(log).exists()]
    if missing:
        shown = "\n".join(said.strip().splitlines()[-_LINES_SHOWN:])
        raise ConnectionError(
            f"W&B has not taken {', '.join(missing)}; see that WANDB_API_KEY is set and valid. It said:\n{shown}"
        )


def _run(command: Sequence[str], root: Path) -> str:
    process = subprocess.Popen(
        command,
        cwd=root,
        env={**os.environ, **_settings(root)},
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


def _settings(root: Path) -> dict[str, str]:
    service = root / _SERVICE
    folders = {f"WANDB_{name}_DIR": str(service / name.lower()) for name in ("CACHE", "CONFIG", "DATA", "ARTIFACT")}
    (service / "wandb").mkdir(parents=True, exist_ok=True)  # or W&B falls back to the folder for temporary files
    return {**folders, "WANDB_DIR": str(service), "WANDB_MODE": "online", "WANDB_ERROR_REPORTING": "false"}


def _is_uploaded(log: Path) -> bool:
    marker = _marker(log)
    return marker.exists() and marker.stat().st_mtime_ns >= log.stat().st_mtime_ns


def _marker(log: Path) -> Path:
    """The file that W&B's command leaves beside a log."""
    return log.with_name(f"{log.name}.synced")
