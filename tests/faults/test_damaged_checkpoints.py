"""Checkpoints that are torn, truncated or incomplete: the newest complete one is used, and the file at fault is named."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import training_pipeline
from tiny_model import build_model, write_conversations
from workbench_sft_trl import Trl, TrlConfig

from workbench.kinds.training import OptimizerConfig
from workbench.testing import Recorder, make_run
from workbench.training import trainer as shared
from workbench.training.checkpoints import MANIFEST, seal

slow = pytest.mark.slow
CONFIG = TrlConfig(
    steps=12,
    batch_size=3,
    max_length=48,
    optimizer=OptimizerConfig(name="muon", learning_rate=5e-3, warmup_steps=1),
    logging_steps=1,
    save_steps=4,
)
FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "losses.json")
RESULT = ("model.safetensors", "training_log.csv")


@dataclass(frozen=True)
class Interrupted:
    """A training that was ended after step 9 of 12, with checkpoints at 4 and 8, and the result of one that was not."""

    inputs: dict[str, Path]
    checkpoints: Path
    whole: Path

    def resume(self, folder: Path, damage: Callable[[Path], None]) -> tuple[str, Recorder]:
        """Go on from damaged copies of the checkpoints to the right bytes; gives the warnings, and what was told."""
        shutil.copytree(self.checkpoints, folder / "checkpoints")
        damage(folder / "checkpoints")
        run = make_run(folder)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            Trl(CONFIG).execute(self.inputs, {"out": folder / "out"}, run)
        for name in RESULT:
            assert (folder / "out" / name).read_bytes() == (self.whole / name).read_bytes(), name
        return "\n".join(str(warning.message) for warning in caught), run.listener


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    folder = tmp_path_factory.mktemp("interrupted")
    (folder / "conversations").mkdir()
    write_conversations(folder / "conversations")
    inputs = {"model": build_model(folder, window=64), "data": folder / "conversations"}
    for name in ("whole", "ended"):
        (folder / name).mkdir()
    run = make_run(folder / "whole")
    Trl(CONFIG).execute(inputs, {"out": folder / "whole" / "out"}, run)
    run = make_run(folder / "ended")
    run.listener.progress = _end_after_nine  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        Trl(CONFIG).execute(inputs, {"out": folder / "ended" / "out"}, run)
    return Interrupted(inputs, folder / "ended" / "checkpoints", folder / "whole" / "out")


def _end_after_nine(done: float, total: float | None, unit: str, label: str) -> None:
    if done == 9:
        raise KeyboardInterrupt


def steps(recorder: Recorder) -> list[int]:
    """The steps that were trained."""
    return [step for step, values in recorder.metrics_seen if step is not None and "loss" in values]


def truncate(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.fault(4)
def test_nothing_is_damaged(interrupted: Interrupted, tmp_path: Path) -> None:
    said, recorder = interrupted.resume(tmp_path, lambda folder: None)
    assert "checkpoint-" not in said
    assert steps(recorder) == [9, 10, 11, 12]


@pytest.mark.fault(4)
@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink], ids=["truncated", "flipped", "missing"])
@pytest.mark.parametrize("name", [FILES[1], *(pytest.param(name, marks=slow) for name in (FILES[0], *FILES[2:], MANIFEST))])
def test_a_damaged_file(name: str, damage: Callable[[Path], None], interrupted: Interrupted, tmp_path: Path) -> None:
    said, recorder = interrupted.resume(tmp_path, lambda folder: damage(folder / "checkpoint-8" / name))
    assert "checkpoint-8 is not used: " in said
    assert name in said or (name == MANIFEST and ("it was not finished" in said or "is damaged" in said))
    assert "training goes on from checkpoint-4" in said
    assert steps(recorder) == list(range(5, 13))


@pytest.mark.fault(4)
def test_both_are_damaged(interrupted: Interrupted, tmp_path: Path) -> None:
    """Then it begins anew, and says so, rather than with weights alone."""

    def damage(folder: Path) -> None:
        (folder / "checkpoint-8" / "optimizer.pt").unlink()
        truncate(folder / "checkpoint-4" / "rng_state.pth")

    said, recorder = interrupted.resume(tmp_path, damage)
    assert "checkpoint-8 is not used: optimizer.pt is missing; training starts over" in said
    assert "checkpoint-4 is not used: rng_state.pth has" in said
    assert steps(recorder) == list(range(1, 13))


@pytest.mark.fault(4)
@pytest.mark.parametrize("name", [FILES[1], *(pytest.param(name, marks=slow) for name in (FILES[0], *FILES[2:]))])
def test_a_whole_checkpoint_without_all_of_the_state(name: str, interrupted: Interrupted, tmp_path: Path) -> None:
    """The Trainer itself would go on with a new optimizer, other random numbers, or from the first step."""

    def damage(folder: Path) -> None:
        (folder / "checkpoint-8" / name).unlink()
        seal(folder / "checkpoint-8")

    said, _ = interrupted.resume(tmp_path, damage)
    assert "checkpoint-8 is not used: it lacks " in said
    assert "training goes on from checkpoint-4" in said


@pytest.mark.fault(5)
def test_a_training_that_was_killed_before_its_model_was_saved(
    interrupted: Interrupted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No step is trained, where the Trainer would train a thirteenth."""

    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    run = make_run(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shared, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            Trl(CONFIG).execute(interrupted.inputs, {"out": tmp_path / "out"}, run)
    assert sorted(path.name for path in run.checkpoints.glob("checkpoint-*")) == ["checkpoint-12", "checkpoint-8"]
    run = make_run(tmp_path)
    Trl(CONFIG).execute(interrupted.inputs, {"out": tmp_path / "out"}, run)
    assert steps(run.listener) == []
    for name in RESULT:
        assert (tmp_path / "out" / name).read_bytes() == (interrupted.whole / name).read_bytes()


@slow
@pytest.mark.fault(4)
@pytest.mark.parametrize(
    ("call", "name", "when"),
    [
        ("renameat", FILES[0], 2),  # safetensors writes a file of another name, and has done so for the first checkpoint
        *(("write", name, 0) for name in FILES[1:]),
        ("rename", MANIFEST, 3),  # after the one that opens the run, and that of the first checkpoint
    ],
)
def test_killed_inside_a_save(call: str, name: str, when: int, tmp_path: Path) -> None:
    """SIGKILL at a call that makes a file of the second checkpoint: the Nth of its kind, or the first that writes to that file.

    The message is on the console and in the record.
    """
    prepared = training_pipeline.prepare("sft", tmp_path)
    if why_not := training_pipeline.why_not_traced():
        pytest.skip(why_not)
    file = prepared.checkpoints / "checkpoint-8" / name
    paths = () if when else ("-P", f"'{file}'")
    options = ("-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when or 1}", *paths)
    done = prepared.made.dvc("repro", "sft", **training_pipeline.traced(prepared.made, "sft", *options))
    assert done.code != 0
    assert "its process was killed (SIGKILL)" in done.err
    assert (prepared.checkpoints / "checkpoint-8").is_dir()
    assert not (prepared.checkpoints / "checkpoint-8" / MANIFEST).exists()
    assert file.exists() == (call == "write")
    again = prepared.recovers()
    assert "checkpoint-8 is not used: it was not finished; training goes on from checkpoint-4" in again.err
    resumed = prepared.events("StageStarted")[-1]
    assert resumed["resumed_from"] == "checkpoint-4"
    assert resumed["passed_over"] == ["checkpoint-8 is not used: it was not finished"]
