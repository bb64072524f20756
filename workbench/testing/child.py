"""The process in which a plugin is tried: ``python child.py TASK.json``. It runs a plugin one or more times and reports each.

Nothing of pytest is imported here, and torch only by the plugin.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

from workbench.artifacts import formats
from workbench.artifacts.formats import Format
from workbench.errors import PluginError, WorkbenchError
from workbench.hosting.host import registry
from workbench.kinds.stage import Stage
from workbench.lib import compute, garbage, pandas_later
from workbench.run import Cell, Chart, Compute, Generation, Run, Value
from workbench.testing.delivery import deliver
from workbench.testing.probe import stage_of
from workbench.testing.task import Attempt, AttemptOutcome, Task
from workbench.testing.watch import Watch
from workbench.training.checkpoints import MANIFEST

HERE = Compute("cpu", 1, "fp32")


@dataclass
class Heart:
    """Listener that counts signs of progress, and kills its process in the middle if asked to."""

    checkpoints: Path
    kill_at: int | None = None
    beats: int = 0
    sealed_at: int | None = None
    """The sign of progress at which a complete checkpoint was there."""

    def progress(self, done: float, total: float | None, unit: str, label: str) -> None:
        """One sign of progress."""
        self.beats += 1
        if self.sealed_at is None and any(self.checkpoints.glob(f"*/{MANIFEST}")):
            self.sealed_at = self.beats
        if self.beats == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def metrics(self, values: Mapping[str, Value], step: int | None) -> None:
        """Not kept."""

    def table(self, name: str, title: str, rows: Sequence[Mapping[str, Cell]]) -> None:
        """Not kept."""

    def chart(self, chart: Chart) -> None:
        """Not kept."""

    def text(self, name: str, markdown: str) -> None:
        """Not kept."""

    def generation(self, generation: Generation) -> None:
        """Not kept."""

    def warning(self, message: str) -> None:
        """Not kept."""

    def middle(self) -> int | None:
        """Where to kill the next run: right after its first complete checkpoint, else halfway; None without progress."""
        if self.sealed_at is not None and self.sealed_at < self.beats:
            return self.sealed_at + 1
        return math.ceil(self.beats / 2) or None


def main(file: Path) -> None:
    """Carry out the task; outcomes go to the report as they come."""
    task = Task.read(file)
    compute.prepare_process(HERE)
    garbage.collect_all_less_often()  # as the command line does
    pandas_later.put_off()  # as the runner does
    tempfile.gettempdir()  # Python tests the folder on first use, which is not the plugin's doing
    watch = Watch(task.reads, task.writes, task.origins) if task.watched else None
    with watch.on() if watch else nullcontext():
        plugin = load(task.plugin)
        parts = {
            key: [cls(cls.Config.model_validate(config)) for cls, config in ((load(name), config) for name, config in members)]
            for key, members in task.parts.items()
        }
    if plugin.kind == "tracker":
        for attempt in task.attempts:
            task.add(_delivery(plugin, attempt, watch))
        return
    kill_at: int | None = None
    for attempt in task.attempts:
        outcome, heart = _attempt(plugin, parts, attempt, watch, kill_at if attempt.killed else None)
        kill_at = heart.middle()
        task.add(outcome)


def load(name: str) -> Any:
    """The object named ``module:qualified.name``."""
    module, _, path = name.partition(":")
    return attrgetter(path)(import_module(module))


def _attempt(
    plugin: Any, parts: Mapping[str, Sequence[Any]], attempt: Attempt, watch: Watch | None, kill_at: int | None
) -> tuple[AttemptOutcome, Heart]:
    for name in ("scratch", "checkpoints", "out"):
        (attempt.folder / name).mkdir(parents=True, exist_ok=True)
    heart = Heart(attempt.folder / "checkpoints", kill_at)
    run = Run("conformance", attempt.seed, HERE, attempt.folder / "scratch", heart.checkpoints, heart)
    outcome = AttemptOutcome(attempt.name)
    began = _cpu_seconds()
    compute.use_temporary_folder(run.scratch)  # as the runner does
    try:
        stage = stage_of(plugin, plugin.Config.model_validate(attempt.config), parts)
        outputs = {flow: attempt.folder / "out" / flow for flow in stage.outputs}
        if watch and _external_inputs(stage):
            watch.allow(paths_in(attempt.config))
        for flow, path in attempt.inputs.items():
            if flow in stage.inputs:
                _format(stage.inputs[flow]).require(path)  # as the runner does
        with _watching(watch, attempt):
            stage.execute(attempt.inputs, outputs, run)
        outcome.cpu_seconds = _cpu_seconds() - began
        _validate(stage, outputs)
        _write_metrics(attempt.folder / "out" / "metrics.json", run)
        if attempt.evaluated:
            outcome.unfit = _unfit(outputs["out"])
    except BaseException as error:  # noqa: BLE001 - a plugin may raise anything; it is reported
        outcome.error, outcome.expected = f"{type(error).__name__}: {error}", isinstance(error, WorkbenchError)
        outcome.traceback = traceback.format_exc()
    outcome.cpu_seconds = outcome.cpu_seconds or _cpu_seconds() - began
    outcome.beats, outcome.middle = heart.beats, heart.middle()
    outcome.accesses = list(watch.found) if watch else []
    return outcome, heart


def _delivery(plugin: Any, attempt: Attempt, watch: Watch | None) -> AttemptOutcome:
    outcome, began = AttemptOutcome(attempt.name), _cpu_seconds()
    try:
        with _watching(watch, attempt):
            deliver(plugin(plugin.Config.model_validate(attempt.config)), attempt.folder)
    except BaseException as error:  # noqa: BLE001 - a tracker may raise anything; it is reported
        outcome.error, outcome.expected = f"{type(error).__name__}: {error}", isinstance(error, WorkbenchError)
        outcome.traceback = traceback.format_exc()
    outcome.cpu_seconds = _cpu_seconds() - began
    outcome.accesses = list(watch.found) if watch else []
    return outcome


def _watching(watch: Watch | None, attempt: Attempt) -> AbstractContextManager[None]:
    return watch.on() if watch and attempt.watched else nullcontext()


def _external_inputs(stage: Stage[Any]) -> dict[str, str]:
    found = dict(stage.external_inputs())
    for members in stage.members.values():
        for member in members:
            found.update(member.external_inputs())
    return found


def paths_in(config: object) -> list[str]:
    """The files and folders that values of a configuration name; of a glob the folder before the first wildcard."""
    if isinstance(config, dict):
        return [path for value in config.values() for path in paths_in(value)]
    if isinstance(config, list):
        return [path for value in config for path in paths_in(value)]
    if not isinstance(config, str) or not config or "\0" in config:
        return []
    fixed = Path(config).expanduser()
    while "*" in str(fixed):
        fixed = fixed.parent
    return [str(fixed)] if fixed != Path() and fixed.exists() else []


def _validate(stage: Stage[Any], outputs: Mapping[str, Path]) -> None:
    """As the runner does before it commits."""
    for flow in stage.outputs:
        if not outputs[flow].exists():
            raise PluginError(f"it wrote no {flow}", f"plugin {stage.name!r}", f"write to the path that is given for {flow!r}")
        _format(stage.produced(flow)).validate(outputs[flow])


def _format(name: str) -> Format:
    """One of the workbench's own formats, or else another distribution's, for which all distributions are loaded.

    The kit's own probes have a format that no distribution offers; it accepts anything.
    """
    known = formats.BUILT_IN if name in formats.BUILT_IN else registry(Path.cwd()).formats
    return known.get(name, Format(name, lambda _: None))


def _write_metrics(file: Path, run: Run) -> None:
    try:
        file.write_text(json.dumps(run.summary, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    except (TypeError, ValueError) as error:
        raise PluginError(
            f"a metric is not a finite number: {run.summary}", "run.metric", "record finite ints and floats"
        ) from error


def _unfit(model: Path) -> str:
    """What is wrong with a model, as seen by a process that only loads and runs it; empty if nothing is.

    This process may have registered a model class that later stages, which know only the model's directory, would miss.
    """
    done = subprocess.run(
        [sys.executable, "-P", str(Path(__file__).with_name("fitness.py")), str(model)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return "" if done.returncode == 0 else (done.stdout.strip() or done.stderr.strip()[-2000:])


def _cpu_seconds() -> float:
    """User and system time of this process and its ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
