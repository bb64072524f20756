"""align `kto` on a tiny model: its loss against the paper's formula, what it learns, and that a kill loses nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny_model import build_model, turn
from workbench_align_kto import Kto, KtoConfig

from workbench.artifacts import examples, model
from workbench.artifacts.examples import Preference
from workbench.errors import ArtifactError
from workbench.kinds.training import OptimizerConfig, read_training_log
from workbench.testing import Recorder, make_run

FAST = OptimizerConfig(name="adamw", learning_rate=5e-3, warmup_steps=1)
THINGS = ["river", "mill", "wheel", "water", "flour", "town", "bend", "sack"]
BETA = 0.3


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("base"), window=96)


@pytest.fixture(scope="module")
def preferences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions of different lengths; the answer that keeps to the question is chosen."""
    folder = tmp_path_factory.mktemp("preferences")
    rows = []
    for place, thing in enumerate(THINGS):
        question = f"What of the {thing}{' that was sold' * (place % 3)}?"
        chosen, rejected = f"The {thing} is old.", f"Nobody could say{' twice' * (place % 2)}."
        rows.append(Preference((turn("user", question),), (turn("assistant", chosen),), (turn("assistant", rejected),)))
    examples.write(folder, rows, Preference.schema)
    return folder


def align(base: Path, data: Path, folder: Path, **settings: Any) -> list[dict[str, float]]:
    """Train; returns the training log."""
    folder.mkdir(exist_ok=True)
    run = make_run(folder)
    given = {"steps": 30, "batch_size": 4, "max_length": 96, "beta": BETA, "optimizer": FAST, "save_steps": 10, **settings}
    Kto(KtoConfig(**given)).execute({"model": base, "data": data}, {"out": folder / "out"}, run)
    return read_training_log(folder / "out")


def log_likelihood(directory: Path, prompt: Sequence[Any], answer: Sequence[Any]) -> float:
    """log p(answer | prompt) in the chat template, one sequence at a time."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, loaded = AutoTokenizer.from_pretrained(directory), AutoModelForCausalLM.from_pretrained(directory)
    start = tokenizer.apply_chat_template(list(prompt), add_generation_prompt=True)["input_ids"]
    whole = tokenizer.apply_chat_template([*prompt, *answer])["input_ids"]
    with torch.inference_mode():
        log_probabilities = loaded(torch.tensor([whole])).logits.log_softmax(-1)[0]
    return sum(log_probabilities[place - 1, whole[place]].item() for place in range(len(start), len(whole)))


def expected(policy: Path, reference: Path, pairs: Sequence[Any], desirable: float, undesirable: float) -> tuple[float, float]:
    """Loss and reference point of one batch by equations 7 and 8 of the paper, the latter from answers to other prompts."""
    import numpy as np

    def gain(prompt: Sequence[Any], answer: Sequence[Any]) -> float:
        return log_likelihood(policy, prompt, answer) - log_likelihood(reference, prompt, answer)

    judged = [(pair["prompt"], pair["chosen"]) for pair in pairs] + [(pair["prompt"], pair["rejected"]) for pair in pairs]
    others = [gain(prompt, judged[place - 1][1]) for place, (prompt, _) in enumerate(judged)]
    point = max(0.0, float(np.mean(others)))
    gains = np.array([gain(*example) for example in judged])
    sign = np.repeat([1.0, -1.0], len(pairs))
    value = 1 / (1 + np.exp(-BETA * sign * (gains - point)))
    return float(np.mean(np.where(sign > 0, desirable, undesirable) * (1 - value))), point


@pytest.mark.parametrize(("desirable", "undesirable"), [(1.0, 1.0), (1.5, 0.5), (0.25, 3.0)])
def test_the_first_loss_is_half_the_mean_weight(
    desirable: float, undesirable: float, base: Path, preferences: Path, tmp_path: Path
) -> None:
    """Policy and reference are one, so every gain and the reference point are zero, and the value of an answer is 1/2."""
    weights = {"desirable_weight": desirable, "undesirable_weight": undesirable}
    (row,) = align(base, preferences, tmp_path, steps=1, logging_steps=1, save_steps=1, **weights)
    assert row["loss"] == pytest.approx((desirable + undesirable) / 4, abs=1e-5)
    assert row["kl"] == pytest.approx(0, abs=1e-4)
    assert row["rewards/margins"] == pytest.approx(0, abs=1e-4)


def test_later_losses_are_those_of_the_papers_formula(base: Path, preferences: Path, tmp_path: Path) -> None:
    """The policy of step k is the model that a training of k - 1 steps saves, since the schedule starts with a plateau."""
    settings: dict[str, Any] = {"logging_steps": 1, "save_steps": 1, "desirable_weight": 1.5, "undesirable_weight": 0.5}
    logged = align(base, preferences, tmp_path / "all", steps=3, **settings)
    rows = examples.sample(preferences, "train", 12, 0)
    policy = tmp_path / "one" / "out"
    align(base, preferences, tmp_path / "one", steps=1, **settings)
    loss, point = expected(policy, base, rows[4:8], 1.5, 0.5)
    assert point > 0.01
    assert logged[1]["kl"] == pytest.approx(point, rel=1e-3)
    assert logged[1]["loss"] == pytest.approx(loss, rel=1e-3)


def test_the_margin_rises_and_a_model_is_saved(base: Path, preferences: Path, tmp_path: Path) -> None:
    rows = align(base, preferences, tmp_path)
    assert rows[-1]["rewards/margins"] > rows[0]["rewards/margins"] + 0.5
    assert rows[-1]["loss"] < rows[0]["loss"]
    out = tmp_path / "out"
    model.validate_model(out)

    def margin(directory: Path, row: dict[str, Any]) -> float:
        return log_likelihood(directory, row["prompt"], row["chosen"]) - log_likelihood(directory, row["prompt"], row["rejected"])

    assert all(margin(out, row) > margin(base, row) + 1 for row in examples.read(preferences, "train"))


def test_the_labelled_head_changes_nothing(
    base: Path, preferences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contextlib import nullcontext

    from workbench_trl import trainer

    ours = align(base, preferences, tmp_path / "ours", steps=4, logging_steps=1, save_steps=1)
    monkeypatch.setattr(trainer, "labelled_head", nullcontext)
    theirs = align(base, preferences, tmp_path / "theirs", steps=4, logging_steps=1, save_steps=1)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other, rel=1e-3, abs=1e-4)


def test_a_killed_run_ends_with_the_bytes_of_an_uninterrupted_one(
    base: Path, preferences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last batches lie in a second pass over the pairs. Without a kill, two runs end with the same bytes as well."""
    settings = {"steps": 6, "save_steps": 2, "logging_steps": 1}
    for name in ("whole", "again"):
        align(base, preferences, tmp_path / name, **settings)

    def stop(self: Recorder, done: float, total: float | None, unit: str, label: str) -> None:
        if unit == "steps" and done == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "progress", stop)
        with pytest.raises(KeyboardInterrupt):
            align(base, preferences, tmp_path / "killed", **settings)
    align(base, preferences, tmp_path / "killed", **settings)
    whole, again, killed = (
        {f.name: f.read_bytes() for f in (tmp_path / n / "out").iterdir()} for n in ("whole", "again", "killed")
    )
    assert whole == again
    assert whole == killed


def test_pairs_are_parted_so_that_no_prompt_meets_its_own_other_answer() -> None:
    from workbench_align_kto import _parted
    from workbench_trl.encoded import Pair

    pairs = [Pair(id=f"{n}", prompt_ids=[n], chosen_ids=[100 + n], rejected_ids=[200 + n]) for n in range(8)]
    for size in (2, 3, 8):
        parted = _parted(pairs, size)
        assert sorted(row["completion_ids"][0] for row in parted) == [*range(100, 108), *range(200, 208)]
        for start in range(0, len(parted), 2 * size):
            batch = parted[start : start + 2 * size]
            assert sum(example["label"] for example in batch) * 2 == len(batch)
            assert all(row["completion_ids"][0] // 100 == (1 if row["label"] else 2) for row in batch)
            assert all(row["KL_completion_ids"][0] % 100 != row["prompt_ids"][0] for row in batch)
            assert sorted(row["KL_completion_ids"] for row in batch) == sorted(row["completion_ids"] for row in batch)


def test_pairs_are_counted_from_the_data_to_the_gradient(base: Path, preferences: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    prompts = [row["prompt"] for row in examples.read(preferences, "train")]
    lengths = sorted(len(ids) for ids in tokenizer.apply_chat_template(prompts, add_generation_prompt=True)["input_ids"])
    run = make_run(tmp_path)
    settings: dict[str, Any] = {"steps": 2, "max_length": lengths[4], "max_cut_share": 1.0, "optimizer": FAST}
    kept = sum(length < lengths[4] for length in lengths)
    assert kept > 3
    config = KtoConfig(batch_size=3, logging_steps=1, save_steps=1, **settings)
    Kto(config).execute({"model": base, "data": preferences}, {"out": tmp_path / "out"}, run)
    assert run.summary["pairs_drawn"] == 6
    assert run.summary["pairs"] in (2, 3)
    assert run.summary["pairs_left_out"] + run.summary["pairs"] + run.summary["pairs_outside_batches"] == 6
    with pytest.raises(ArtifactError, match="none of 8 pairs can be learnt from"):
        align(base, preferences, tmp_path, steps=2, max_length=lengths[0])


def test_the_estimate_counts_both_answers_of_every_pair(base: Path, preferences: Path, tmp_path: Path) -> None:
    stage = Kto(KtoConfig(steps=5, batch_size=4, gradient_accumulation=2, max_length=64))
    known = stage.estimate({"model": base, "data": preferences})
    assert known.tokens == 5 * 4 * 2 * 2 * 64
    assert known.flops > known.tokens * 6 * 2 * 32 * 32
    assert stage.estimate({"model": tmp_path / "absent", "data": preferences}).flops == 0
