"""kill -9 of pretrain, sft and align at random moments: ``dvc repro`` ends with the uninterrupted bytes, in the same run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import training_pipeline
from faulty_pipeline import SECONDS, finish, start
from training_pipeline import SAVE_STEPS, STAGES, STEPS, Prepared

pytestmark = pytest.mark.slow
NUMBER = 10
"""Kills of each stage."""
SEED = 20240613


def moments(stage: str) -> list[float]:
    """Shares of an uninterrupted ``dvc repro``'s time, one in each tenth of it: loading, training, saving."""
    drawing = random.Random(f"{SEED} {stage}")
    return [(place + drawing.random()) / NUMBER for place in range(NUMBER)]


def cases() -> Iterator[object]:
    for stage in STAGES:
        for share in moments(stage):
            yield pytest.param(stage, share, id=f"{stage}-{share:.3f}")


@pytest.mark.fault(4)
@pytest.mark.parametrize(("stage", "share"), list(cases()))
def test_killed_at_a_random_moment(stage: str, share: float, tmp_path: Path) -> None:
    prepared = training_pipeline.prepare(stage, tmp_path)
    where = kill(prepared, share)
    prepared.recovers()
    newest = prepared.events("StageStarted")[-1]["resumed_from"]
    sys.stdout.write(f"{stage} was killed {where}; it went on from {newest or 'the beginning'}\n")
    if 0.5 < share < 0.6:
        assert mlflow_runs(prepared) == [(stage, "FINISHED")]


def kill(prepared: Prepared, share: float) -> str:
    """Kill the stage, or dvc and all that it has started, with signal 9; says how far the stage was.

    A fifth of the moments is in loading, a tenth behind the last step. Between them the moment is a step and some time
    behind it, so that what is hit does not hang on the speed of the machine.
    """
    process = start(prepared.made, "repro", prepared.stage)
    if share < 0.1:
        where, pause = "when dvc was loading", 10 * share
    elif share < 0.2:
        where, pause = "when it was loading", 40 * (share - 0.1)
        wait_until(lambda: prepared.events("StageStarted"), process)
    else:
        step = min(int((share - 0.2) / 0.7 * STEPS[prepared.stage]), STEPS[prepared.stage])
        begun = step - step % SAVE_STEPS
        where, pause = f"at step {step} or soon after", (step % SAVE_STEPS) * 0.02 + share % 0.01
        wait_until(lambda: reached(prepared) >= begun, process)
    time.sleep(pause)
    assert process.poll() is None, "it had ended before it could be killed"
    started = prepared.events("StageStarted")
    if started and int(share * 1000) % 2:
        os.kill(started[-1]["pid"], signal.SIGKILL)
    else:
        os.killpg(process.pid, signal.SIGKILL)
        where = f"with dvc, {where}"
    finish(process)
    return where


def mlflow_runs(prepared: Prepared) -> list[tuple[str, str]]:
    """Stage and status of every stage's run, when the journals have been replayed to a store of their own."""
    from mlflow.tracking import MlflowClient

    prepared.made.edit("compute.yaml", lambda content: content.update(trackers=["mlflow"]))
    synced = prepared.made.run("sync")
    assert synced.code == 0, synced.text
    client = MlflowClient(tracking_uri=f"sqlite:///{prepared.made.root / '.workbench' / 'mlflow.db'}")
    runs = client.search_runs([found.experiment_id for found in client.search_experiments()])
    tags = [(run.data.tags, run.info.status) for run in runs]
    return [(tag["workbench.stage"], status) for tag, status in tags if tag.get("workbench.role") == "stage"]


def reached(prepared: Prepared) -> int:
    """The step of the newest checkpoint that has begun to be written."""
    names = [path.name for path in prepared.checkpoints.glob("checkpoint-*")]
    return max((int(name.rpartition("-")[2]) for name in names), default=0)


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Look a hundred times a second."""
    deadline = time.monotonic() + SECONDS
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.fault(5)
@pytest.mark.parametrize("stage", STAGES)
def test_a_finished_stage_is_not_run_again(stage: str, tmp_path: Path) -> None:
    prepared = training_pipeline.prepare(stage, tmp_path)
    prepared.made.repro(stage)
    done = prepared.recovers()
    assert f"Running stage '{stage}'" not in done.out
