"""A workspace of its own for a test, and the commands that people run in one, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from workbench.lib.layout import JOURNAL_FOLDER
from workbench.tracking import watcher

SECONDS = 900
"""Deadline of a command, and of a watcher that it leaves behind."""
FOREIGN = ("GIT_", "DVC_", "MLFLOW_", "OMP_", "MKL_")
"""Prefixes of the environment variables of the tests that the commands do not inherit."""
Content = str | bytes | Mapping[str, Any] | Sequence[Any]
"""Content of a file: text, bytes, or values, written as JSON to a ``.json`` and as YAML to any other file."""


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    """Its exit code."""
    out: str
    err: str

    @property
    def text(self) -> str:
        """All that it printed."""
        return self.out + self.err


@dataclass(frozen=True)
class Project:
    """A folder with a pipeline."""

    root: Path
    variables: Mapping[str, str]
    """The environment of its commands."""

    @classmethod
    def at(cls, root: Path, **variables: str) -> Self:
        """The workspace in a folder; keywords are further environment variables of all its commands."""
        return cls(root, {**_environment(root), **variables})

    @classmethod
    def create(cls, root: Path, files: Mapping[str, Content]) -> Self:
        """A new workspace of these files."""
        made = cls.at(root)
        made.write(files)
        return made

    def write(self, files: Mapping[str, Content]) -> None:
        """Write files, by their paths below the root; their folders are made."""
        for name, content in files.items():
            file = self.root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content if isinstance(content, bytes) else _text(file, content).encode())

    def run(self, *words: str, **variables: str) -> Done:
        """``workbench …``, such as ``run("check")``; keywords are further environment variables."""
        return self.call(sys.executable, "-m", "workbench", *words, **variables)

    def dvc(self, *words: str, **variables: str) -> Done:
        """``dvc …``, and wait for the watcher that it leaves behind."""
        done = self.call(str(Path(sys.executable).with_name("dvc")), *words, **variables)
        self.wait()
        return done

    def call(self, *words: str, **variables: str) -> Done:
        """Run any command here."""
        process = self.start(*words, **variables)
        try:
            out, err = process.communicate(timeout=SECONDS)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return Done(process.returncode, out, err)

    def start(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        """Start any command here, in a process group of its own."""
        pipe = subprocess.PIPE
        environment = {**self.variables, **variables}
        return subprocess.Popen(
            words, cwd=self.root, env=environment, stdout=pipe, stderr=pipe, text=True, encoding="utf-8", start_new_session=True
        )

    def wait(self) -> None:
        """Wait until every watcher of this workspace has ended."""
        for folder in (self.root / JOURNAL_FOLDER).glob("[!.]*"):
            assert watcher.wait_for_watcher(self.root, folder.name, SECONDS), (folder / "watcher.log").read_text()


def _environment(root: Path) -> dict[str, str]:
    """The environment of a shell in a workspace, without the variables of FOREIGN, and with a name and address for git."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    person = {f"GIT_{role}_{part}": "test@localhost" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    return {
        **kept,
        **person,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_CEILING_DIRECTORIES": str(root.parent),
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(root.parent / f"{root.name}-site-cache"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONDONTWRITEBYTECODE": "1",
        "COLUMNS": "200",
    }


def _text(file: Path, content: str | Mapping[str, Any] | Sequence[Any]) -> str:
    if isinstance(content, str):
        return content
    if file.suffix == ".json":
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    return yaml.safe_dump(content, sort_keys=False)
