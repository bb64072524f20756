"""Which processes run: not those that are gone, and not zombies, however long nobody waits for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import zombies

from workbench.lib import commit, processes


def test_the_pair_of_pid_and_start_tells_processes_apart() -> None:
    started = processes.process_start(os.getpid())
    assert processes.is_alive(os.getpid(), started)
    assert not processes.is_alive(os.getpid(), started + 1)
    assert processes.is_running(os.getpid())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        began = processes.process_start(process.pid)
        assert processes.is_alive(process.pid, began)
    assert processes.process_start(process.pid) < 0
    assert not processes.is_alive(process.pid, began)
    assert not processes.is_running(process.pid)


def test_a_zombie_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with zombies.one() as pid:
        assert psutil.pid_exists(pid)
        for proc in (processes._PROC, Path("/nowhere")):
            monkeypatch.setattr(processes, "_PROC", proc)
            assert processes.is_zombie(pid)
            assert not processes.is_running(pid)
            assert processes.process_start(pid) < 0
    assert not processes.is_zombie(pid)


@pytest.mark.parametrize("pid", [0, -1, 10**12])
def test_numbers_that_no_process_has(pid: int) -> None:
    assert not processes.is_running(pid)


def test_what_a_zombie_was_writing_is_cleared_away(tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    running = tmp_path / f".file.json.{os.getppid()}"
    running.write_text("a part")
    with zombies.one() as pid:
        (tmp_path / f".file.json.{pid}").write_text("a part")
        commit.write_text(file, "whole")
        assert sorted(tmp_path.iterdir()) == sorted([file, running])
