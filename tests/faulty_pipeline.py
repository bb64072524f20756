"""The light pipeline, cut to curate → dedup → eval, whose dedup plugin runs a test's code in the midst of its work."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import fault_oracle
import light_pipeline
import workspace
from workspace import Done, Workspace

from workbench.lib import processes

FAULT = "fault.py"
"""File, in the workspace, of the code that the plugin runs; it knows ``inputs``, ``outputs`` and ``run``."""
OUTPUTS = ("data/split/train", "data/split/heldout", "data/decisions/dedup")
DEDUP = (
    *("run", "dedup", "--corpus", "data/curated/corpus", "--train", OUTPUTS[0], "--heldout", OUTPUTS[1]),
    *("--decisions", OUTPUTS[2], "--metrics", "data/metrics/dedup.json"),
)
PLUGIN = "dedup light (stranger-light 1.0)"
SECONDS = 120
"""Deadline of whatever is waited for."""


@dataclass(frozen=True)
class Begun:
    """A pipeline that has run, whose dedup is stale, and what an unfaulted run will make of it."""

    made: Workspace
    old: dict[str, str]
    new: dict[str, str]

    def fault(self, code: str) -> None:
        """Let the plugin run this code when its outputs are written."""
        (self.made.root / FAULT).write_text(code)

    def recovers(self) -> Done:
        """Take the fault away and hold everything to the oracle."""
        (self.made.root / FAULT).unlink(missing_ok=True)
        done = fault_oracle.recovers(self.made, self.new)
        assert [end for end in ends(self.made) if end == "RUNNING"] == []
        left = [path for path in (self.made.root / "data").rglob(".*") if path.name != ".gitignore"]
        assert left == [], "something half-written was left beside the outputs"
        return done

    def is_whole_or_absent(self) -> None:
        """Each output is the old one, the new one, or is not there."""
        for path in OUTPUTS:
            if (self.made.root / path).exists():
                assert fault_oracle.digests.of(self.made.root / path) in (self.old[path], self.new[path]), path


def begin(folder: Path, *, trackers: tuple[str, ...] = ()) -> Begun:
    """A copy of the pipeline that has run with ``words: 2`` and has ``words: 3`` in its params.yaml."""
    made, old, new = _made(trackers)
    copy = _copy(made, folder / "root")
    copy.params(dedup__with__words=3)
    return Begun(copy, old, new)


def _copy(made: Workspace, root: Path) -> Workspace:
    shutil.copytree(made.root, root, symlinks=True)
    return Workspace.at(root, PYTHONPATH=made.variables["PYTHONPATH"])


@cache
def _made(trackers: tuple[str, ...]) -> tuple[Workspace, dict[str, str], dict[str, str]]:
    folder = workspace._session_folder() / "-".join(["faulty", *trackers])
    folder.mkdir()
    made = light_pipeline.create(folder, trackers=trackers)
    made.edit("dvc.yaml", lambda content: content["stages"].pop("report"))
    made.edit("params.yaml", lambda content: (content.pop("report"), content["curate"].pop("other")))
    with (made.root / "raw" / "corpus.txt").open("a") as file:
        file.write("and then the last line\n")  # held out unless it is a duplicate
    made.repro()
    clean = _copy(made, folder / "unfaulted")
    clean.params(dedup__with__words=3)
    clean.repro()
    old, new = fault_oracle.hashes(made), fault_oracle.hashes(clean)
    assert {old[path] != new[path] for path in OUTPUTS} == {True}
    return made, old, new


def records(made: Workspace, name: str) -> list[dict[str, Any]]:
    """The events of one type in all journals, oldest first."""
    files = (made.root / ".workbench" / "journal").glob("*/[!_]*.jsonl")
    found = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return sorted((event for event in found if event["type"] == name), key=lambda event: event["time"])


def failure(made: Workspace) -> dict[str, Any]:
    """The newest StageFailed in the journals."""
    return records(made, "StageFailed")[-1]


def ends(made: Workspace) -> list[str]:
    """How every run in the journals ended, by the last word of its newest journal: clocks may have been set between two words."""
    files = (made.root / ".workbench" / "journal").glob("*/[!_]*.jsonl")
    last: dict[str, str] = {}
    for file in sorted(files, key=lambda file: file.stat().st_mtime_ns):
        for event in map(json.loads, file.read_text().splitlines()):
            if status := {"StageStarted": "RUNNING", "StageFinished": "FINISHED"}.get(event["type"], event.get("status")):
                last[event["run"]] = status
    return list(last.values())


def start(made: Workspace, *words: str, **variables: str) -> subprocess.Popen[str]:
    """``dvc …``, in a process group of its own."""
    return made.start(str(Path(sys.executable).with_name("dvc")), *words, **variables)


def finish(process: subprocess.Popen[str]) -> Done:
    """Wait for a command, whose pipes nobody must hold open."""
    try:
        out, err = process.communicate(timeout=SECONDS)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return Done(process.returncode, out, err)


def await_file(path: Path) -> None:
    """Wait until a file is there."""
    deadline = time.monotonic() + SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


def await_end(pid: int) -> None:
    """Wait until a process, which need not be a child, is gone."""
    deadline = time.monotonic() + SECONDS
    while processes.is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.02)
