"""What a stage has left running is told from what its guard started for itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from workbench.execution import strays
from workbench.lib import processes

PAIR = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
input()
"""


@contextmanager
def pair() -> Iterator[tuple[int, int]]:
    """A process and its child, which end with the context."""
    with subprocess.Popen([sys.executable, "-c", PAIR], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        yield parent.pid, int(parent.stdout.readline())


def test_a_watcher_and_what_it_starts_are_no_strays() -> None:
    with pair() as watcher, pair() as stage, pair() as orphan:
        born = processes.process_start(stage[0])
        found = {process.pid for process in strays.below(os.getpid(), stage[0], born)}
        assert found >= {stage[1], *orphan}
        assert not found & {stage[0], *watcher}
