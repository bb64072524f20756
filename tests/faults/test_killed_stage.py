"""kill -9 of a stage at its Nth write, rename or fsync: each output is absent or whole, and the next repro is right."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import fault_oracle
import pytest
import workspace
from faulty_pipeline import DEDUP, OUTPUTS, Begun, begin, records
from workspace import Done

slow = pytest.mark.slow
RENAMES, RENAMES_BY_HAND, FSYNCS = 5, 9, 12
"""So many are made by the stage's process below DVC, which has removed its old outputs, and by hand; see the test that counts."""
SECOND = ".workbench/scratch/data+decisions+dedup/heldout"
"""From where the second output is renamed into its place: of a rename strace looks at the first path alone."""
WRITES = (1, 2, 3, 5, 8, 12, 16, 20, 24)
WRAPPER = """#!/bin/sh
case "$*" in
    *"workbench run dedup"*) exec {strace} "{python}" "$@" ;;
    *) exec "{python}" "$@" ;;
esac
"""


@cache
def why_not() -> str:
    """Why no system call can be stopped here; empty where it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", "-f", "-qq", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    return f"ptrace is not possible: {tried.stderr.strip()}" if tried.returncode else ""


pytestmark = [pytest.mark.fault(1), pytest.mark.skipif(bool(why_not()), reason=why_not())]


@pytest.fixture
def begun(tmp_path: Path) -> Begun:
    return begin(tmp_path)


def traced(begun: Begun, *options: str) -> dict[str, str]:
    """Variables by which the dedup stage runs below strace."""
    folder = begun.made.root.parent / "bin"
    folder.mkdir(exist_ok=True)
    strace = " ".join(["strace", "-f", "-qq", "-o", f"'{begun.made.root.parent / 'trace'}'", *options])
    (folder / "python").write_text(WRAPPER.format(strace=strace, python=sys.executable))
    (folder / "python").chmod(0o755)
    return {"PATH": os.pathsep.join([str(folder), begun.made.variables["PATH"]])}


def kill_at(begun: Begun, call: str, when: int, *options: str, by_hand: bool = False) -> Done:
    """Run the stage until the Nth such call of any of its processes, which is not made."""
    variables = traced(begun, "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}", *options)
    if by_hand:
        done = begun.made.call("python", "-m", "workbench", *DEDUP, **variables)
        begun.made.wait()
    else:
        done = begun.made.dvc("repro", "dedup", **variables)
    assert "killed by SIGKILL" in (begun.made.root.parent / "trace").read_text()
    begun.is_whole_or_absent()
    return done


def recovers(begun: Begun) -> None:
    """By the oracle; and what had begun is recorded as killed."""
    started = {event["run"] for event in records(begun.made, "StageStarted")}
    for event in records(begun.made, "StageFailed"):
        assert event["run"] in started
        assert event["status"] == "KILLED"
        assert "killed" in event["error"]
    begun.recovers()


def test_between_two_of_its_outputs(begun: Begun) -> None:
    """DVC trusts none of them, whichever way one goes on; its cache keeps the old ones."""
    done = kill_at(begun, "rename", 1, "-P", str(begun.made.root / SECOND))
    assert done.code != 0
    assert "its process was killed (SIGKILL)" in done.err
    assert [(begun.made.root / path).exists() for path in OUTPUTS] == [True, False, False]
    assert {"dedup"} <= set(workspace.ran(begun.made.dvc("repro", "--dry", "dedup")))
    recovers(begun)
    begun.made.params(dedup__with__words=2)
    back = begun.made.repro()
    assert set(workspace.restored(back)) == {"dedup", "eval@first"}
    assert fault_oracle.hashes(begun.made) == begun.old


@slow
def test_between_two_of_its_outputs_and_back(begun: Begun) -> None:
    kill_at(begun, "rename", 1, "-P", str(begun.made.root / SECOND))
    begun.made.params(dedup__with__words=2)
    assert workspace.restored(begun.made.repro()) == ["dedup"]
    assert fault_oracle.hashes(begun.made) == begun.old


@slow
@pytest.mark.parametrize("when", range(1, RENAMES + 1))
def test_at_a_rename(begun: Begun, when: int) -> None:
    kill_at(begun, "rename", when)
    recovers(begun)


@slow
@pytest.mark.parametrize("when", range(1, FSYNCS + 1))
def test_at_an_fsync(begun: Begun, when: int) -> None:
    kill_at(begun, "fsync", when)
    recovers(begun)


@slow
@pytest.mark.parametrize("when", WRITES)
def test_at_a_write(begun: Begun, when: int) -> None:
    kill_at(begun, "write", when)
    recovers(begun)


@slow
@pytest.mark.parametrize("when", range(1, RENAMES_BY_HAND + 1))
def test_at_a_rename_by_hand_with_the_old_outputs_in_their_places(begun: Begun, when: int) -> None:
    assert begun.made.run("resolve").code == 0
    kill_at(begun, "rename", when, by_hand=True)
    recovers(begun)


@slow
@pytest.mark.parametrize("when", [1, 2, 3])
def test_while_the_old_output_is_removed(begun: Begun, when: int) -> None:
    """A folder is not removed in one step: half of it must not be seen."""
    assert begun.made.run("resolve").code == 0
    kill_at(begun, "unlinkat", when, by_hand=True)
    recovers(begun)


@slow
def test_while_resolving(begun: Begun) -> None:
    variables = traced(begun, "-e", "trace=rename", "-e", "inject=rename:signal=KILL:when=1")
    wrapper = begun.made.root.parent / "bin" / "python"
    wrapper.write_text(wrapper.read_text().replace("run dedup", "resolve"))
    assert begun.made.dvc("repro", **variables).code != 0
    assert list(begun.made.root.glob(".plugins-lock.json.*"))
    begun.recovers()
    assert list(begun.made.root.glob(".plugins-lock.json.*")) == []


@slow
def test_all_renames_and_fsyncs_are_among_those(begun: Begun) -> None:
    assert begun.made.dvc("repro", "dedup", **traced(begun, "-e", "trace=rename,fsync,write")).code == 0
    calls = [line.split("(")[0].split() for line in (begun.made.root.parent / "trace").read_text().splitlines() if "(" in line]
    counts = Counter((pid, name) for pid, name in calls if name in ("rename", "fsync", "write"))
    most = {name: max(count for (_, called), count in counts.items() if called == name) for name in ("rename", "fsync", "write")}
    assert (most["rename"], most["fsync"]) == (RENAMES, FSYNCS)
    assert most["write"] >= WRITES[-1]
    begun.recovers()
