"""Where and how a child process runs: a workspace, home and temporary folder of its own, and a chosen locale and hash seed."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workbench.testing.task import AttemptOutcome, Task

CHILD = Path(__file__).with_name("child.py")
HERE: Mapping[str, str] = {"PYTHONHASHSEED": "1", "LC_ALL": "C.UTF-8", "PYTHONUTF8": "1", "TZ": "UTC", "COLUMNS": "120"}
THERE: Mapping[str, str] = {
    "PYTHONHASHSEED": "4242",
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "TZ": "XYZ-13:45",
    "COLUMNS": "43",
}
"""Another hash seed, an ASCII locale, which decides how text files are read without an encoding, and another time zone."""
SETTINGS: Mapping[str, str] = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONDONTWRITEBYTECODE": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
}
DROPPED = ("PYTHON", "HF_", "XDG_", "LC_", "LANG", "MPL", "TORCH", "TRANSFORMERS_", "MLFLOW_", "DVC_", "PYTEST", "COV_")
"""Prefixes of the environment variables that a child does not inherit."""


@dataclass(frozen=True)
class Sandbox:
    """The folders of one process."""

    root: Path
    variables: Mapping[str, str]

    @property
    def work(self) -> Path:
        """The working directory, with the inputs in it."""
        return self.root / "work"

    def create(self) -> None:
        """Make the folders."""
        for name in ("work", "home", "tmp"):
            (self.root / name).mkdir(parents=True, exist_ok=True)

    def start(self, task: Task) -> Process:
        """Start a child process on a task."""
        file = self.root / "task.json"
        task.write(file)
        log = self.root / "log.txt"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-P", str(CHILD), str(file)],
                cwd=self.work,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Process(process, task, log)

    def environment(self) -> dict[str, str]:
        """The child's environment."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(DROPPED)}
        places = {"HOME": str(self.root / "home"), "TMPDIR": str(self.root / "tmp"), "PYTHONPATH": os.pathsep.join(import_path())}
        return {**kept, **SETTINGS, **self.variables, **places, "MPLCONFIGDIR": self.caches()[0]}

    def caches(self) -> list[str]:
        """Folders in which libraries keep what they found out about this machine, such as matplotlib's list of fonts."""
        return [str(self.root.parent.parent / "workbench-library-caches")]

    def fonts(self) -> list[str]:
        """Where a library that draws looks for fonts."""
        return [str(self.root / "home" / name) for name in (".fonts", ".local/share/fonts")]

    def files(self) -> dict[str, str]:
        """What the process can leave behind: path of every file below its folders → digest."""
        return {f"{name}/{file}": digest for name in ("work", "home", "tmp") for file, digest in tree(self.root / name).items()}


@dataclass(frozen=True)
class Process:
    """A child process that was started."""

    process: subprocess.Popen[bytes]
    task: Task
    log: Path

    def wait(self, seconds: float) -> dict[str, AttemptOutcome]:
        """The outcomes of all attempts; for those not reached, they say how the process ended."""
        try:
            ended = f"the process ended with code {self.process.wait(seconds)}"
        except subprocess.TimeoutExpired:
            ended = f"it was stopped after {seconds:.0f} s"
        finally:
            self.kill()
        known = self.task.outcomes()
        said = self.log.read_text(encoding="utf-8", errors="replace")[-2000:].strip()
        lost = {attempt.name: AttemptOutcome(attempt.name, f"{ended}: {said}") for attempt in self.task.attempts}
        return {**lost, **known}

    def kill(self) -> None:
        """End it with all that it started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.process.wait()


def import_path() -> list[str]:
    """The entries of this process's ``sys.path`` that a fresh interpreter would not have by itself."""
    prefixes = tuple({sys.prefix, sys.base_prefix, sys.exec_prefix})
    return [entry for entry in sys.path if entry and Path(entry).is_absolute() and not entry.startswith(prefixes)]


def tree(folder: Path) -> dict[str, str]:
    """Path of every file below a folder → SHA-256 of its content."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
