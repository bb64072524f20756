"""Sessions: which ``dvc repro`` or ``dvc exp run`` a stage process belongs to."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from workbench import redaction
from workbench.errors import ComputeError
from workbench.lib import commit
from workbench.lib.layout import FILES_FOLDER, JOURNAL_FOLDER, PIPELINE_COPY, STATE_FOLDER
from workbench.lib.processes import process_start

STATE_FILE = "state.json"
"""File in a session's folder with each tracker's position in its journals."""
_FILES = ("params.yaml", "compute.yaml", "dvc.yaml", "dvc.lock")
STAGE_VARIABLE = "DVC_STAGE"
"""Environment variable by which DVC tells a stage its name."""
_KEPT_AS = {"dvc.yaml": str(PIPELINE_COPY)}
GUARD_VARIABLE = "WORKBENCH_GUARD"
"""Environment variable by which a stage's process knows its guard."""
_SESSION_FILE = "session.json"
_REFUSALS = "refusals"
REPRODUCTION = "WORKBENCH_REPRODUCTION"
"""Environment variable that names, to stages run by `workbench reproduce`, its process and the run they repeat: PID:RUN."""
_RUNNERS = frozenset({"repro", "exec-run"})
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Session:
    """One run of DVC, or one stage that was started by hand."""

    id: str
    """Names the folder of its journals; the same for every process of one session."""
    pid: int
    """The DVC process, or the guard of a stage that was started by hand."""
    process_started: float
    """See :func:`workbench.lib.processes.process_start`."""
    time: float
    """When its first process asked, in seconds since the epoch."""
    directory: str
    """The workspace the stages run in, which ``dvc exp run --temp`` moves."""
    command: str
    """The command line, such as ``dvc repro sft``."""
    by_dvc: bool
    """False when a stage was started by hand."""
    experiment: str = ""
    """DVC's experiment name, if any."""
    absent: Sequence[str] = ()
    """Outputs that dvc.lock knew and that were not there when `resolve` looked; DVC removes those of a stage before it runs."""
    trackers: Sequence[str] = ()
    """The names of those that record it."""


def current_session(directory: Path) -> Session:
    """The session that this process belongs to: that of the nearest DVC process above it, or one of its own.

    Raises:
        ComputeError: DVC has started this process, and is gone: what the stage would make, nobody waits for.
    """
    reproducer, _ = reproduction()
    dvc = None if reproducer else _find_dvc()
    if dvc is None and not reproducer and not guard_above() and (stage := os.environ.get(STAGE_VARIABLE)):
        fix = f"run `dvc repro` again; by hand, `unset {STAGE_VARIABLE}` first"
        raise ComputeError("the `dvc repro` or `dvc exp run` that started it is gone", f"stage {stage}", fix)
    owner, command = dvc or (reproducer or guard_above() or os.getpid(), shlex.join(["python", "-m", "workbench", *sys.argv[1:]]))
    return Session(
        id=_identify(owner),
        pid=owner,
        process_started=process_start(owner),
        time=time.time(),
        directory=str(directory.resolve()),
        command=redaction.of_environment().command(command),
        by_dvc=dvc is not None,
        experiment=os.environ.get("DVC_EXP_NAME", ""),
    )


def reproduction() -> tuple[int, str]:
    """The process of the `workbench reproduce` that runs this stage and the run that it repeats; 0 and nothing without one."""
    pid, _, run = os.environ.get(REPRODUCTION, "0:").partition(":")
    return int(pid), run


def guard_above() -> int:
    """Process id of the guard (:mod:`workbench.execution.guard`) that watches over this process; 0 when there is none."""
    guard = int(os.environ.get(GUARD_VARIABLE) or 0)
    return guard if guard == os.getppid() else 0


def note_refusal(root: Path, session: str, stage: str, why: str) -> None:
    """Save why a stage did not begin, which no journal records: its process calls this, then its guard; the first call counts."""
    file = folder_of(root, session) / _REFUSALS / f"{guard_above() or os.getpid()}.json"
    if not file.exists():
        with suppress(OSError):  # the terminal shows it anyway, and a failed write must not hide the original error
            commit.write_text(file, json.dumps({"stage": stage, "why": redaction.text(why)}))


def refusals(root: Path, session: str) -> dict[str, str]:
    """Stage → why it did not begin."""
    records = [json.loads(file.read_text(encoding="utf-8")) for file in (folder_of(root, session) / _REFUSALS).glob("[!.]*.json")]
    return {record["stage"]: record["why"] for record in records}


def folder_of(root: Path, session: str) -> Path:
    """Folder of a session's journals."""
    return root / JOURNAL_FOLDER / session


def save(root: Path, session: Session) -> None:
    """Keep the session's record and the files it begins with, unless an earlier process did."""
    file = folder_of(root, session.id) / _SESSION_FILE
    if file.exists():
        return
    kept = file.parent / FILES_FOLDER
    kept.mkdir(parents=True, exist_ok=True)
    _hide_from_dvc(root / STATE_FOLDER)
    for name in _FILES:
        if (Path(session.directory) / name).is_file():
            (kept / _KEPT_AS.get(name, name)).write_bytes(redaction.file(name, (Path(session.directory) / name).read_bytes()))
    commit.write_text(file, json.dumps(asdict(session)))


def _hide_from_dvc(folder: Path) -> None:
    """DVC takes every dvc.yaml below the workspace for a pipeline, and would read those that earlier releases have kept."""
    if not (ignore := folder / ".dvcignore").exists():
        commit.write_text(ignore, "*\n")


def find(root: Path, session: str) -> Session | None:
    """The record of a session; None if it is missing or was damaged by a crash: `workbench doctor` names those."""
    try:
        return load(root, session)
    except (FileNotFoundError, ValueError, TypeError):
        return None


def load(root: Path, session: str) -> Session:
    """Read a session's record back.

    Raises:
        FileNotFoundError: no such session.
        ValueError, TypeError: the record is damaged.
    """
    return Session(**json.loads((folder_of(root, session) / _SESSION_FILE).read_text(encoding="utf-8")))


def _identify(pid: int) -> str:
    boot = _BOOT_ID.read_text(encoding="ascii")[:8] if _BOOT_ID.exists() else "0"
    return f"{pid}-{round(process_start(pid) * 100)}-{boot}"


def _find_dvc() -> tuple[int, str] | None:
    for pid, words in _ancestors():
        command = _dvc_command(words)
        if command and process_start(pid) >= 0:
            return pid, command
    return None


def _ancestors() -> Iterator[tuple[int, list[str]]]:
    try:
        for process in psutil.Process().parents():
            yield process.pid, process.cmdline()
    except psutil.Error:
        return  # an ancestor ended or belongs to someone else, so the search ends there


def _dvc_command(words: list[str]) -> str:
    """``dvc repro …`` if the words are a command line that runs stages, else the empty string."""
    at = next((i for i, word in enumerate(words[:6]) if _is_dvc(words, i)), None)
    if at is None:
        return ""
    arguments = words[at + 1 :]
    runs = bool(_RUNNERS.intersection(arguments[:3])) or ({"exp", "experiments"} & set(arguments[:2]) and "run" in arguments[1:3])
    return shlex.join(["dvc", *arguments]) if runs else ""


def _is_dvc(words: list[str], at: int) -> bool:
    return Path(words[at]).name == "dvc" and (at == 0 or "python" in Path(words[0]).name)
