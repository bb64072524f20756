"""sft `trl` and align `dpo` on a tiny model: what they learn, what they save, and that a kill loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_model import COLOURS, build_model, turn, write_conversations
from workbench_align_dpo import Dpo, DpoConfig
from workbench_sft_trl import Trl, TrlConfig

from workbench.artifacts import examples, model
from workbench.artifacts.examples import Preference
from workbench.errors import ParamsError
from workbench.kinds.training import OptimizerConfig, read_training_log
from workbench.testing import Recorder, make_run

FAST = OptimizerConfig(name="adamw", learning_rate=5e-3, warmup_steps=1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("base"), window=64)


@pytest.fixture(scope="module")
def conversations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conversations")
    write_conversations(folder)
    return folder


@pytest.fixture(scope="module")
def preferences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preferences")
    rows = [
        Preference((turn("user", f"Is {c} a colour?"),), (turn("assistant", "Yes, it is."),), (turn("assistant", "No, never."),))
        for c in COLOURS
    ]
    examples.write(folder, rows, Preference.schema)
    return folder


def finetune(base: Path, data: Path, folder: Path, **settings: Any) -> Recorder:
    run = make_run(folder)
    config = TrlConfig(**{"steps": 20, "batch_size": 3, "max_length": 64, "optimizer": FAST, "save_steps": 10, **settings})
    Trl(config).execute({"model": base, "data": data}, {"out": folder / "out"}, run)
    return run.listener


def align(base: Path, data: Path, folder: Path, **settings: Any) -> Recorder:
    run = make_run(folder)
    config = DpoConfig(**{"steps": 20, "batch_size": 3, "max_length": 64, "optimizer": FAST, "save_steps": 10, **settings})
    Dpo(config).execute({"model": base, "data": data}, {"out": folder / "out"}, run)
    return run.listener


def test_sft_learns_the_answers_and_saves_a_model(base: Path, conversations: Path, tmp_path: Path) -> None:
    finetune(base, conversations, tmp_path, steps=40)
    model.validate_model(tmp_path / "out")
    losses = [row["loss"] for row in read_training_log(tmp_path / "out")]
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("train", [finetune, align])
def test_texts_longer_than_the_window_are_refused_before_training(
    base: Path, conversations: Path, preferences: Path, tmp_path: Path, train: Callable[..., Recorder]
) -> None:
    with pytest.raises(ParamsError, match="max_length is 65, and the model's window has 64 tokens") as caught:
        train(base, conversations if train is finetune else preferences, tmp_path, max_length=65)
    assert "lower max_length to 64" in caught.value.fix


def test_sft_scores_the_assistant_tokens_only(base: Path, conversations: Path, tmp_path: Path) -> None:
    """Other questions with the same answers give the same labels, so the loss of the first step counts no question token."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    finetune(base, conversations, tmp_path, steps=1, batch_size=6, logging_steps=1, save_steps=1)
    logged = read_training_log(tmp_path / "out")[0]["loss"]
    tokenizer, loaded = AutoTokenizer.from_pretrained(base), AutoModelForCausalLM.from_pretrained(base)
    total, count = 0.0, 0
    for row in examples.read(conversations, "train"):
        prompt = tokenizer.apply_chat_template(row["messages"][:1], add_generation_prompt=True)["input_ids"]
        whole = tokenizer.apply_chat_template(row["messages"])["input_ids"]
        with torch.inference_mode():
            log_probabilities = loaded(torch.tensor([whole])).logits.log_softmax(-1)[0]
        total -= sum(log_probabilities[i - 1, whole[i]].item() for i in range(len(prompt), len(whole)))
        count += len(whole) - len(prompt)
    assert logged == pytest.approx(total / count, rel=1e-4)


def test_dpo_widens_the_margin(base: Path, preferences: Path, tmp_path: Path) -> None:
    align(base, preferences, tmp_path)
    rows = read_training_log(tmp_path / "out")
    assert rows[-1]["rewards/margins"] > rows[0]["rewards/margins"]
    assert rows[-1]["rewards/accuracies"] == 1.0
    assert rows[0]["loss"] > rows[-1]["loss"]
    model.validate_model(tmp_path / "out")


@pytest.mark.parametrize("stage", ["sft", "dpo"])
def test_a_killed_run_ends_with_the_bytes_of_an_uninterrupted_one(
    stage: str, base: Path, conversations: Path, preferences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, data = (finetune, conversations) if stage == "sft" else (align, preferences)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    settings = {"steps": 6, "save_steps": 2, "logging_steps": 1}
    train(base, data, tmp_path / "whole", **settings)

    def stop(self: Recorder, done: float, total: float | None, unit: str, label: str) -> None:
        if unit == "steps" and done == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "progress", stop)
        with pytest.raises(KeyboardInterrupt):
            train(base, data, tmp_path / "killed", **settings)
    train(base, data, tmp_path / "killed", **settings)
    for name in ("model.safetensors", "training_log.csv"):
        assert (tmp_path / "killed" / "out" / name).read_bytes() == (tmp_path / "whole" / "out" / name).read_bytes()
