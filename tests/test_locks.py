"""A lock on an open file: who has it, and when it is free again."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from workbench.lib import locks


def becomes_free(path: Path, *, free: bool = True) -> bool:
    return any(is_free(path) is free or time.sleep(0.05) for _ in range(200))


def is_free(path: Path) -> bool:
    with path.open("a", encoding="utf-8") as file:
        return locks.take(file)


def test_a_lock_is_told_and_ends_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("a+", encoding="utf-8") as file:
        assert locks.take(file)
        locks.sign(file)
        locks.sign(file)
        with path.open("a+", encoding="utf-8") as other:
            began = time.monotonic()
            assert not locks.take(other, patience=0.2)
            assert time.monotonic() - began >= 0.2
            assert locks.holder(other) == str(os.getpid())
    assert is_free(path)


def test_a_child_of_a_killed_holder_holds_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = os.fork()
    if holder == 0:
        os.setsid()
        with path.open("a", encoding="utf-8") as file:
            locks.wait(file)
            os.fork()
            time.sleep(60)
        os._exit(0)
    assert becomes_free(path, free=False)
    time.sleep(0.2)  # for the child to be there
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    assert not is_free(path)
    os.killpg(holder, signal.SIGKILL)
    assert becomes_free(path)
