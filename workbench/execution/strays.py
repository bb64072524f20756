"""The processes that a stage's code starts and leaves running."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from workbench.errors import PluginError
from workbench.lib.processes import process_start
from workbench.tracking.session import guard_above


def below(guard: int, stage: int, born: float) -> list[psutil.Process]:
    """The processes that still run, anywhere below the stage's guard.

    What the guard itself started before the stage, the session's watcher, is not among them, nor is anything that it starts.

    Args:
        guard: process id of the guard.
        stage: process id of the stage's own process, which is not among them.
        born: its start; see :func:`workbench.lib.processes.process_start`.
    """
    top = psutil.Process(guard)
    found = top.children(recursive=True)
    others = [child for child in top.children() if child.pid != stage and process_start(child.pid) <= born]
    for other in [*others]:
        with suppress(psutil.NoSuchProcess):
            others += other.children(recursive=True)
    return [process for process in found if process.pid != stage and process not in others and process_start(process.pid) >= born]


def require_closed(stage: str, outputs: Iterable[Path]) -> None:
    """Refuse outputs that someone may still write to: the stage's own process, or one that it left running.

    Raises:
        PluginError: names the process and the file.
    """
    gc.collect()  # closes files that the plugin dropped without closing
    own = psutil.Process()
    guard = guard_above()
    roots = [output.resolve() for output in outputs]
    for process in [own, *(below(guard, own.pid, process_start(own.pid)) if guard else ())]:
        for file in _written_by(process):
            if any(file == root or root in file.parents for root in roots):
                who = "its own process" if process == own else f"process {process.pid}, which it has left running,"
                fix = "fix the plugin: it has to close its files and wait for the processes it starts"
                raise PluginError(f"{who} still has {file.name} of its output open for writing", f"stage {stage}", fix)


def _written_by(process: psutil.Process) -> list[Path]:
    try:
        return [Path(file.path) for file in process.open_files() if getattr(file, "mode", "r") != "r"]
    except psutil.Error:
        return []
