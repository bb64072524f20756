"""A trial: all runs of a plugin that its checks examine, made once per test class."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from workbench import cache
from workbench.testing.sandbox import HERE, THERE, Process, Sandbox, tree
from workbench.testing.task import Attempt, AttemptOutcome, Task
from workbench.training.checkpoints import MANIFEST

FIRST, AGAIN, ELSEWHERE, KILLED, RESUMED = "first", "again", "elsewhere", "killed", "resumed"


@dataclass(frozen=True)
class BadInput:
    """Inputs or a configuration that a plugin cannot work with."""

    what: str
    """What is wrong, such as ``corpus: no column text``."""
    inputs: Mapping[str, Path]
    config: Mapping[str, Any]


@dataclass(frozen=True)
class TrialPlan:
    """What is tried."""

    plugin: str
    """``module:qualified.name``."""
    parts: Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]]
    outputs: Sequence[str]
    """The output flows."""
    inputs: Mapping[str, Path]
    """Flow → path below the work folder, or an absolute path elsewhere."""
    config: Mapping[str, Any]
    bad: Sequence[BadInput]
    seed: int
    reads: Sequence[str]
    """Where the code of the plugin and of what it uses is."""
    origins: Sequence[str]
    """Folders of the code under test."""
    seconds: float
    """Seconds after which a process that does not end is stopped."""
    training: bool
    """Whether it is killed and resumed, and its model evaluated."""


@dataclass
class Trial:
    """Runs the plan in two processes side by side, and a training plugin in a third that resumes what was killed."""

    root: Path
    plan: TrialPlan
    outcomes: dict[str, AttemptOutcome] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    """Files that the first process left in its sandbox or changed there."""

    @property
    def here(self) -> Sandbox:
        """The first process's sandbox; inputs and files of the configuration are written into its work folder."""
        return Sandbox(self.root / "here", HERE)

    @property
    def there(self) -> Sandbox:
        """The second process's sandbox."""
        return Sandbox(self.root / "there", THERE)

    def run(self) -> None:
        """Make all runs: first and repeated ones here, others elsewhere at the same time, then what was killed again."""
        plan = self.plan
        for sandbox in (self.there, self.back):
            sandbox.create()
            shutil.copytree(self.here.work, sandbox.work, dirs_exist_ok=True)
        before = self.here.files()
        bad = [self._attempt(f"bad {number}", bad.inputs, bad.config) for number, bad in enumerate(plan.bad)]
        first = self._attempt(FIRST, watched=True, evaluated=plan.training)
        killed = [self._attempt(KILLED, killed=True)] if plan.training else []
        here = self._start(self.here, [first, self._attempt(AGAIN), *bad])
        there = self._start(self.there, [self._attempt(ELSEWHERE), *killed])
        try:
            self.outcomes |= there.wait(plan.seconds)
            if killed and self.outcomes[ELSEWHERE].middle is not None:
                self._resume()
            self.outcomes |= here.wait(plan.seconds)
        finally:
            here.kill()
            there.kill()
        after = self.here.files()
        changed = {file for file in {*before, *after} if before.get(file) != after.get(file)}
        self.left = sorted(file for file in changed if not file.startswith(f"work/{cache.FOLDER}/"))

    @property
    def back(self) -> Sandbox:
        """The sandbox of the process that resumes."""
        return Sandbox(self.root / "back", HERE)

    def output(self, name: str) -> Path:
        """Where an attempt wrote."""
        return self.root / name / "out"

    @cached_property
    def first(self) -> dict[str, str]:
        """The files of the first run with their digests."""
        return tree(self.output(FIRST))

    def _resume(self) -> None:
        killed = self.root / KILLED
        for name in ("out", "scratch"):
            shutil.rmtree(killed / name, ignore_errors=True)
        tear(killed / "checkpoints")
        resume = self._start(self.back, [self._attempt(RESUMED, folder=KILLED)])
        self.outcomes |= resume.wait(self.plan.seconds)

    def _attempt(
        self,
        name: str,
        inputs: Mapping[str, Path] | None = None,
        config: Mapping[str, Any] | None = None,
        *,
        folder: str = "",
        killed: bool = False,
        watched: bool = False,
        evaluated: bool = False,
    ) -> Attempt:
        return Attempt(
            name,
            self.root / (folder or name),
            self.plan.inputs if inputs is None else inputs,
            self.plan.config if config is None else config,
            self.plan.seed,
            killed=killed,
            watched=watched,
            evaluated=evaluated,
        )

    def _start(self, sandbox: Sandbox, attempts: Sequence[Attempt]) -> Process:
        inputs = [str(sandbox.work / path) for path in self.plan.inputs.values()]
        folders = [attempts[0].folder / part for part in ("scratch", "checkpoints")]
        outputs = [attempts[0].folder / "out" / flow for flow in self.plan.outputs]
        task = Task(
            plugin=self.plan.plugin,
            parts=self.plan.parts,
            attempts=attempts,
            report=sandbox.root / "report.jsonl",
            watched=attempts[0].watched,
            reads=[*self.plan.reads, *inputs, *sandbox.fonts()],
            writes=[*sandbox.caches(), str(sandbox.work / cache.FOLDER), *(str(path) for path in (*folders, *outputs))],
            origins=self.plan.origins,
        )
        return sandbox.start(task)


def tear(checkpoints: Path) -> None:
    """Leave what a kill in the middle of writing leaves: a newer checkpoint with half of its bytes and no manifest."""
    numbered = {
        int(path.name.rpartition("-")[2]): path for path in checkpoints.glob("checkpoint-*") if (path / MANIFEST).is_file()
    }
    if not numbered:
        return
    newest = max(numbered)
    torn = checkpoints / f"checkpoint-{newest + 1}"
    if torn.exists():
        return
    shutil.copytree(numbered[newest], torn)
    (torn / MANIFEST).unlink()
    for file in sorted(path for path in torn.rglob("*") if path.is_file()):
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
