"""dvc killed alone, interrupted, or run twice at once: never two writers of one output, and the results are right."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from faulty_pipeline import DEDUP, OUTPUTS, PLUGIN, SECONDS, Begun, await_end, await_file, begin, failure, finish, records, start

slow = pytest.mark.slow
HOLD = """import os, time; from pathlib import Path
Path("stage.pid").write_text(str(os.getpid()))
Path("held").touch()
while Path("hold").exists() or Path(f"hold-{os.getpid()}").exists(): run.progress(1, 2, "steps"); time.sleep(0.02)
"""
"""Waits in the midst of the stage's work while there is a file ``hold``, or one with its process id."""


@pytest.fixture
def begun(tmp_path: Path) -> Begun:
    made = begin(tmp_path)
    made.fault(HOLD)
    (made.made.root / "hold").touch()
    return made


def held(begun: Begun) -> tuple[int, int]:
    """Process ids of the stage, once it waits in the midst of its work, and of its guard."""
    await_file(begun.made.root / "held")
    (begun.made.root / "held").unlink()
    pid = int((begun.made.root / "stage.pid").read_text())
    return pid, int(records(begun.made, "StageStarted")[-1]["guard"])


def let_go(begun: Begun) -> None:
    (begun.made.root / "hold").unlink()


@pytest.mark.fault(2)
@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=slow)])
@pytest.mark.parametrize("shell", ["/bin/bash", pytest.param("/bin/sh", marks=slow)])
def test_dvc_alone_is_killed_and_repeated_at_once(begun: Begun, number: signal.Signals, shell: str) -> None:
    """Through a shell that gives its place to the stage, and through one (dash) that stays and outlives DVC."""
    first = start(begun.made, "repro", SHELL=shell)
    stage, guard = held(begun)
    os.kill(first.pid, number)
    first.wait(SECONDS)  # as a shell does: DVC takes the locks of a zombie for held
    (begun.made.root / f"hold-{stage}").touch()  # or it might be done before its guard looks at DVC again
    let_go(begun)
    begun.recovers()
    said = finish(first).err
    await_end(stage)
    await_end(guard)
    starts = [event for event in records(begun.made, "StageStarted") if event["stage"] == "dedup"][-2:]
    assert starts[0]["run"] == starts[1]["run"], "a killed run is not continued"
    assert starts[1]["pid"] != stage
    assert failure(begun.made)["status"] == "KILLED"
    assert f"process {first.pid}, which ran it" in said + failure(begun.made)["error"]


def stage_of(dvc: int) -> psutil.Process:
    """The process of the dedup stage below a DVC, from its first moment on."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with suppress(psutil.Error):
            for process in psutil.Process(dvc).children(recursive=True):
                words = process.cmdline()
                if "dedup" in words and words[1:3] == ["-m", "workbench"]:
                    return process
        time.sleep(0.005)
    raise AssertionError("the stage did not begin")


@pytest.mark.fault(2)
@pytest.mark.parametrize("after", [0.0, 0.3, *(pytest.param(after, marks=slow) for after in (0.1, 0.2, 0.5, 0.8))])
@pytest.mark.parametrize("shell", ["/bin/bash", "/bin/sh"])
def test_dvc_is_killed_while_the_stage_starts(begun: Begun, after: float, shell: str) -> None:
    """Python has just begun, the core is being imported, or the guard is about to fork: the stage never runs to its end."""
    first = start(begun.made, "repro", "dedup", SHELL=shell)
    stage = stage_of(first.pid)
    time.sleep(after)
    first.kill()
    first.wait(SECONDS)
    gone, _ = psutil.wait_procs([stage], timeout=20)
    let_go(begun)
    assert gone, "it outlived its DVC"
    by_hand = [event for event in records(begun.made, "SessionStarted") if event["command"].startswith("python")]
    assert by_hand == []
    assert not any((begun.made.root / path).exists() for path in OUTPUTS)
    begun.recovers()


@pytest.mark.fault(2)
@slow
def test_guard_is_killed(begun: Begun) -> None:
    """Then the kernel ends the stage, and the watcher records it."""
    first = start(begun.made, "repro")
    stage, guard = held(begun)
    os.kill(guard, signal.SIGKILL)
    await_end(stage)
    assert finish(first).code != 0
    begun.recovers()
    assert failure(begun.made)["status"] == "KILLED"


@pytest.mark.fault(2)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@slow
def test_stage_is_ended(begun: Begun, number: signal.Signals) -> None:
    first = start(begun.made, "repro")
    stage, _ = held(begun)
    os.kill(stage, number)
    done = finish(first)
    assert done.code != 0
    assert number.name in done.err
    assert PLUGIN in done.err
    assert failure(begun.made)["status"] == "KILLED"
    begun.recovers()


@pytest.mark.fault(2)
@pytest.mark.parametrize(("shell", "code"), [("/bin/bash", 130), pytest.param("/bin/sh", -2, marks=slow)])
def test_ctrl_c(begun: Begun, shell: str, code: int) -> None:
    """It reaches every process of the terminal's foreground group, DVC's and its shell's included; twice, as the impatient do.

    dash, unlike bash, stays between DVC and the stage, and dies at once.
    """
    first = start(begun.made, "repro", SHELL=shell)
    stage, guard = held(begun)
    os.killpg(first.pid, signal.SIGINT)
    os.killpg(first.pid, signal.SIGINT)
    done = finish(first)
    await_end(stage)
    await_end(guard)
    assert done.code == 255, done.text  # DVC's own, for any stage that failed
    assert f"exited with {code}" in done.err
    assert "interrupted" in done.err
    assert failure(begun.made)["status"] == "KILLED"
    assert [path for path in OUTPUTS if (begun.made.root / path).exists()] == []
    begun.recovers()
    starts = [event["run"] for event in records(begun.made, "StageStarted") if event["stage"] == "dedup"][-2:]
    assert starts[0] == starts[1]


@pytest.mark.fault(2)
@slow
def test_ctrl_c_of_a_stage_by_hand(begun: Begun) -> None:
    assert begun.made.run("resolve").code == 0
    stage = begun.made.start("python", "-m", "workbench", *DEDUP)
    held(begun)
    os.killpg(stage.pid, signal.SIGINT)
    done = finish(stage)
    assert done.code == 130, done.text
    assert "interrupted" in done.err
    begun.is_whole_or_absent()
    begun.recovers()


@pytest.mark.fault(9)
def test_a_pipeline_that_is_stopped_for_a_while_goes_on(begun: Begun) -> None:
    """Ctrl-Z, and later `fg`: the stage has shown no progress meanwhile, and is not at fault."""
    begun.made.edit("compute.yaml", lambda content: content.update(stall_minutes=0.05, time_limit_minutes={"dedup": 0.2}))
    first = start(begun.made, "repro", "dedup")
    held(begun)
    os.killpg(first.pid, signal.SIGSTOP)
    time.sleep(13)
    os.killpg(first.pid, signal.SIGCONT)
    time.sleep(1)
    let_go(begun)
    done = finish(first)
    assert done.code == 0, done.text


@pytest.mark.fault(9)
@slow
def test_a_stage_that_is_stopped_alone_is_ended_at_its_limit(begun: Begun) -> None:
    begun.made.edit("compute.yaml", lambda content: content.update(stall_minutes=0.05))
    first = start(begun.made, "repro", "dedup")
    stage, _ = held(begun)
    os.kill(stage, signal.SIGSTOP)
    done = finish(first)
    assert done.code != 0
    assert "it has shown no progress for" in done.err
    await_end(stage)


@pytest.mark.fault(3)
@pytest.mark.parametrize("targets", [("dedup",), pytest.param((), marks=slow), pytest.param(("eval@first",), marks=slow)])
@pytest.mark.slow
def test_second_repro_names_the_first(begun: Begun, targets: tuple[str, ...]) -> None:
    first = start(begun.made, "repro", "dedup")
    held(begun)
    second = finish(start(begun.made, "repro", *targets))
    assert second.code != 0
    assert f"(PID {first.pid}): " in second.err
    assert "is busy" in second.err
    let_go(begun)
    assert finish(first).code == 0
    begun.recovers()


@pytest.mark.fault(3)
@slow
def test_second_repro_of_another_stage_alone(begun: Begun) -> None:
    """``dvc repro -s`` resolves nothing, so that DVC lets it run beside the first."""
    first = start(begun.made, "repro", "dedup")
    held(begun)
    second = finish(start(begun.made, "repro", "--single-item", "--force", "curate@corpus"))
    assert second.code != 0, "it would write what the first reads"
    assert f"(PID {first.pid}): " in second.err
    let_go(begun)
    assert finish(first).code == 0, first
    begun.recovers()


@pytest.mark.fault(3)
@pytest.mark.slow
def test_stage_by_hand_beside_a_repro(begun: Begun) -> None:
    first = start(begun.made, "repro", "dedup")
    stage, _ = held(begun)
    second = begun.made.run(*DEDUP)
    assert second.code == 1
    assert f"process {stage} is writing data/decisions/dedup" in second.err
    let_go(begun)
    assert finish(first).code == 0
    begun.recovers()


@pytest.mark.fault(3)
@slow
def test_repro_beside_a_stage_by_hand(begun: Begun) -> None:
    assert begun.made.run("resolve").code == 0
    stage = begun.made.start("python", "-m", "workbench", *DEDUP)
    pid, _ = held(begun)
    repro = finish(start(begun.made, "repro", "dedup"))
    assert repro.code != 0
    assert f"process {pid} is writing data/decisions/dedup" in repro.err
    let_go(begun)
    assert finish(stage).code == 0
    begun.recovers()


@pytest.mark.fault(3)
@slow
def test_two_at_the_very_same_time(begun: Begun) -> None:
    let_go(begun)
    both = [start(begun.made, "repro") for _ in range(2)]
    done = [finish(process) for process in both]
    assert 0 in [one.code for one in done], [one.text for one in done]
    for one in done:
        assert one.code == 0 or "busy" in one.err or "Unable to acquire lock" in one.err or "is writing" in one.err, one.text
    begun.recovers()


@pytest.mark.fault(3)
@slow
def test_the_same_result_in_another_workspace_waits(begun: Begun, tmp_path: Path) -> None:
    """As in two ``dvc exp run --temp``, which share the checkpoints and the record of the main workspace."""
    assert begun.made.run("resolve").code == 0
    other = begin(tmp_path / "other").made
    (other.root / "plugins-lock.json").write_bytes((begun.made.root / "plugins-lock.json").read_bytes())
    first = begun.made.start("python", "-m", "workbench", *DEDUP)
    pid, _ = held(begun)
    second = other.start("python", "-m", "workbench", *DEDUP, DVC_ROOT=str(begun.made.root))
    assert second.stderr is not None
    said = second.stderr.readline()
    assert f"waiting for process {pid}, which makes the same result in another workspace" in said
    let_go(begun)
    assert first.wait(SECONDS) == 0
    done = finish(second)
    assert done.code == 0
    assert f"process {pid} has ended; the result is made again here" in done.err
    begun.recovers()
