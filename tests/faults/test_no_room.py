"""Out of memory, disk full: the message names the knob to turn, and the stage can be repeated."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faulty_pipeline import OUTPUTS, PLUGIN, Begun, begin, failure

pytestmark = pytest.mark.fault(10)
slow = pytest.mark.slow
LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
"""Of address space, which libraries reserve much of: enough to import torch."""


@pytest.fixture
def begun(tmp_path: Path) -> Begun:
    return begin(tmp_path)


@contextmanager
def small(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own at this folder, with what the folder holds."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder.with_name(f"{folder.name}-kept")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a small file system can't be mounted here")
    try:
        if kept.exists():
            subprocess.run(["cp", "-a", f"{kept}/.", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize(
    "code",
    [
        "b'0' * (64 << 30)",
        pytest.param("import numpy; numpy.ones(8 << 30)", marks=slow),
        pytest.param("import torch; torch.ones(8 << 30)", marks=slow),
        pytest.param("import pyarrow; pyarrow.allocate_buffer(64 << 30)", marks=slow),
        pytest.param(
            "try:\n    b'0' * (64 << 30)\nexcept MemoryError as error:\n    raise ValueError('a wrapped one') from error",
            marks=slow,
        ),
    ],
    ids=["python", "numpy", "torch", "arrow", "wrapped"],
)
def test_no_memory(begun: Begun, code: str) -> None:
    begun.fault(LIMIT + code)
    done = begun.made.dvc("repro", "dedup")
    assert done.code != 0
    assert "out of memory" in done.err
    assert "fix:   give it more memory, or less to do in dedup.with of params.yaml, run `dvc repro` again" in done.err
    assert PLUGIN in done.err
    assert "fault.py" in failure(begun.made)["traceback"]
    assert [path for path in OUTPUTS if (begun.made.root / path).exists()] == []
    begun.recovers()


@slow
def test_killed_for_want_of_memory(begun: Begun) -> None:
    """The kernel's way is SIGKILL, which tells nobody why."""
    begun.fault("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    done = begun.made.dvc("repro", "dedup")
    assert done.code != 0
    assert signal.SIGKILL.name in done.err
    assert "the kernel did, since memory ran out" in done.err
    assert "lower batch size or length in params.yaml" in done.err
    assert failure(begun.made)["status"] == "KILLED"
    begun.recovers()


def test_no_room_for_the_output(begun: Begun) -> None:
    begun.fault("(outputs['train'] / 'big').write_bytes(b'0' * (4 << 20))")
    with small(begun.made.root / ".workbench" / "scratch", "1m"):
        done = begun.made.dvc("repro", "dedup")
    assert done.code != 0
    assert "the disk is full" in done.err
    assert "dvc gc -w" in done.err
    assert PLUGIN in done.err
    assert failure(begun.made)["status"] == "FAILED"
    assert [path for path in OUTPUTS if (begun.made.root / path).exists()] == []
    begun.recovers()


@slow
def test_outputs_on_another_file_system(begun: Begun) -> None:
    """They can't be renamed into place there."""
    with small(begun.made.root / ".workbench" / "scratch", "9m"):
        done = begun.made.dvc("repro", "dedup")
    assert done.code != 0
    assert "an output cannot be renamed into its place" in done.err
    assert "keep .workbench and the outputs on one file system" in done.err
    assert [path for path in OUTPUTS if (begun.made.root / path).exists()] == []
    begun.recovers()


@slow
def test_no_room_in_the_cache_of_dvc(begun: Begun) -> None:
    """The stage ends well, and so does DVC, which says that its cache lacks the result; nothing is lost, and verify names it."""
    cache = begun.made.root / ".dvc" / "cache"
    cache.rename(cache.with_name("cache-kept"))
    big = "import random; (outputs['train'] / 'big').write_bytes(random.Random(0).randbytes(4 << 20))"
    begun.fault(big)
    with small(cache, "1m"):
        done = begun.made.dvc("repro", "dedup")
    assert "No space left on device" in done.err
    cache.rmdir()
    cache.with_name("cache-kept").rename(cache)
    assert (begun.made.root / "data" / "split" / "train" / "big").stat().st_size == 4 << 20
    assert "of dedup; `dvc commit dedup` puts" in begun.made.run("verify").out
    begun.recovers()


@slow
def test_no_room_for_the_journal(begun: Begun) -> None:
    """Its lines wait in memory; the loss is said, the result is right."""
    begun.fault("for n in range(9999): run.log({'some rather long name of a number': n}, n)")
    journal = begun.made.root / ".workbench" / "journal"
    journal.rename(journal.with_name("journal-kept"))
    with small(journal, "1m"):
        done = begun.made.dvc("repro", "dedup")
    assert "No space left on device; the run goes on" in done.err
    assert done.code == 0, done.text
    subprocess.run(["rm", "-rf", journal], check=True)
    journal.with_name("journal-kept").rename(journal)
    begun.recovers()
