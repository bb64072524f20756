"""sft `trl` with adapters: what is trained, what is saved, and that a kill loses nothing."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from tiny_model import build_model, write_conversations
from workbench_sft_trl import LoraConfig, Trl, TrlConfig

from workbench.artifacts import model
from workbench.errors import ParamsError, PluginError
from workbench.kinds.training import OptimizerConfig, read_training_log
from workbench.testing import Recorder, make_run

FAST = OptimizerConfig(name="adamw", learning_rate=2e-2, warmup_steps=1)
LINEAR = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
RANK = 4


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("base"), window=64)


@pytest.fixture(scope="module")
def conversations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conversations")
    write_conversations(folder)
    return folder


def finetune(base: Path, data: Path, folder: Path, **settings: Any) -> Any:
    """Train; returns the run's metrics."""
    folder.mkdir(exist_ok=True)
    run = make_run(folder)
    given = {"steps": 30, "batch_size": 3, "max_length": 64, "optimizer": FAST, "peft": LoraConfig(r=RANK, alpha=8), **settings}
    Trl(TrlConfig(**given)).execute({"model": base, "data": data}, {"out": folder / "out"}, run)
    return run.summary


def weights(directory: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(directory / "model.safetensors"))


def contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def last_name(weight: str) -> str:
    return weight.removesuffix(".weight").rpartition(".")[2]


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "v_proj")])
def test_adapters_alone_are_trained_and_the_output_is_a_plain_model(
    targets: Any, base: Path, conversations: Path, tmp_path: Path
) -> None:
    import torch

    before = contents(base)
    summary = finetune(base, conversations, tmp_path, peft=LoraConfig(r=RANK, alpha=8, target_modules=targets))
    assert contents(base) == before
    model.validate_model(tmp_path / "out")
    assert set(contents(tmp_path / "out")) == {*before, "training_log.csv"}

    old, new = weights(base), weights(tmp_path / "out")
    assert set(old) == set(new)
    adapted = LINEAR if targets == "all-linear" else set(targets)
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed == {name for name in old if last_name(name) in adapted}
    for name in changed:
        singular = torch.linalg.svdvals((new[name] - old[name]).double())
        assert singular[RANK:].max() < 1e-5 * singular[0]
    assert summary["trained_parameters"] == sum(RANK * sum(old[name].shape) for name in changed)
    assert summary["parameters"] == sum(weight.numel() for weight in old.values()) + summary["trained_parameters"]


def test_the_answers_are_learnt(base: Path, conversations: Path, tmp_path: Path) -> None:
    finetune(base, conversations, tmp_path, steps=60)
    losses = [row["loss"] for row in read_training_log(tmp_path / "out")]
    assert losses[-1] < 0.3 * losses[0]


def test_merged_logits_are_those_of_the_unmerged_adapters(
    base: Path, conversations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import AutoModelForCausalLM
    from workbench_sft_trl import adapters

    ids = torch.arange(5, 45).reshape(2, 20)
    unmerged, merge = [], adapters.merge

    def watched(adapted: Any) -> Any:
        with torch.inference_mode():
            unmerged.append(adapted.eval()(input_ids=ids).logits)
        return merge(adapted)

    monkeypatch.setattr(adapters, "merge", watched)
    finetune(base, conversations, tmp_path)
    with torch.inference_mode():
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")(input_ids=ids).logits
        untrained = AutoModelForCausalLM.from_pretrained(base)(input_ids=ids).logits
    assert torch.allclose(merged, unmerged[0], rtol=1e-4, atol=1e-4)
    assert (merged - untrained).abs().max() > 0.5


def test_a_killed_run_ends_with_the_bytes_of_an_uninterrupted_one(
    base: Path, conversations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"steps": 6, "save_steps": 2, "logging_steps": 1, "peft": LoraConfig(r=RANK, dropout=0.2)}
    finetune(base, conversations, tmp_path / "whole", **settings)

    def stop(self: Recorder, done: float, total: float | None, unit: str, label: str) -> None:
        if unit == "steps" and done == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "progress", stop)
        with pytest.raises(KeyboardInterrupt):
            finetune(base, conversations, tmp_path / "killed", **settings)
    assert any((tmp_path / "killed" / "checkpoints").iterdir())
    finetune(base, conversations, tmp_path / "killed", **settings)
    assert contents(tmp_path / "killed" / "out") == contents(tmp_path / "whole" / "out")


@pytest.mark.parametrize("target", ["q_prj", "lm_head", "embed_tokens"])
def test_a_target_without_an_adapter_is_refused_with_those_there_are(
    target: str, base: Path, conversations: Path, tmp_path: Path
) -> None:
    with pytest.raises(ParamsError, match=f"named {target}") as caught:
        finetune(base, conversations, tmp_path, peft=LoraConfig(target_modules=("q_proj", target)))
    assert ", ".join(sorted(LINEAR)) in caught.value.fix


def test_without_the_section_peft_is_neither_needed_nor_part_of_the_identity(
    base: Path, conversations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Trl(TrlConfig()).external_inputs() == {}
    assert Trl(TrlConfig(peft=LoraConfig())).external_inputs() == {"peft": metadata.version("peft")}
    monkeypatch.setitem(sys.modules, "workbench_sft_trl.adapters", None)
    summary = finetune(base, conversations, tmp_path, peft=None, steps=1)
    assert "trained_parameters" not in summary

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    with pytest.raises(PluginError, match="not installed"):
        Trl(TrlConfig(peft=LoraConfig())).external_inputs()
