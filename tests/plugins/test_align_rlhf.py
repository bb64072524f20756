"""align `rlhf` on a tiny model that says yes and no alike, where people prefer yes: reward, bound, kills, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_model import build_model
from workbench_align_rlhf import RewardModelConfig, Rlhf, RlhfConfig
from workbench_sft_trl import Trl, TrlConfig

from workbench.artifacts import examples, model
from workbench.artifacts.examples import Conversation, Message, Preference
from workbench.errors import ArtifactError, ParamsError, TrainingError
from workbench.kinds.training import OptimizerConfig, read_training_log
from workbench.run import Compute, Precision
from workbench.testing import Recorder, make_run

COLOURS = ["red", "green", "blue", "black", "white", "grey", "pink", "brown", "gold", "silver", "teal", "lime", "plum", "navy"]
HELDOUT = COLOURS[8:]
YES, NO = "Yes, it is.", "No, never."
FAST = OptimizerConfig(name="adamw", learning_rate=5e-3, warmup_steps=1)


def question(colour: str) -> tuple[Message, ...]:
    return ({"role": "user", "content": f"Is {colour} a colour?"},)


def answer(text: str) -> Message:
    return {"role": "assistant", "content": text}


@pytest.fixture(scope="module")
def preferences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preferences")
    rows = [Preference(question(c), (answer(YES),), (answer(NO),), "heldout" if c in HELDOUT else "train") for c in COLOURS]
    examples.write(folder, rows, Preference.schema)
    return folder


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    rows = [Conversation((*question(colour), answer(text))) for colour in COLOURS[:8] for text in (YES, NO)]
    examples.write(folder / "conversations", rows, Conversation.schema)
    run = make_run(folder)
    config = TrlConfig(steps=60, batch_size=16, max_length=64, optimizer=FAST, save_steps=1000)
    base = build_model(folder, window=64)
    Trl(config).execute({"model": base, "data": folder / "conversations"}, {"out": folder / "sft"}, run)
    return folder / "sft"


def align(start: Path, data: Path, folder: Path, seed: int = 0, precision: Precision = "fp32", **settings: Any) -> Recorder:
    folder.mkdir(exist_ok=True)
    run = make_run(folder, seed)
    run.compute = Compute("cpu", 1, precision)
    small = {
        "reward_model": RewardModelConfig(steps=6, batch_size=4, max_length=64, optimizer=FAST, certainty=0),
        "steps": 6,
        "prompts_per_step": 4,
        "group_size": 4,
        "batch_size": 16,
        "max_tokens": 12,
        "optimizer": OptimizerConfig(name="adamw", learning_rate=1e-3, warmup_steps=1),
        "logging_steps": 1,
        "save_steps": 2,
    }
    plugin = Rlhf(RlhfConfig(**{**small, **settings}))
    plugin.execute({"model": start, "data": data}, {"out": folder / "out"}, run)
    run.listener.metrics_seen.append((None, dict(run.summary)))
    return run.listener


def summary(recorder: Recorder) -> dict[str, float]:
    return recorder.metrics_seen[-1][1]


def results(folder: Path) -> list[bytes]:
    return [(folder / "out" / name).read_bytes() for name in ("model.safetensors", "training_log.csv")]


def test_heldout_reward_rises_and_the_divergence_stays_inside(start: Path, preferences: Path, tmp_path: Path) -> None:
    reward_model = RewardModelConfig(steps=20, batch_size=8, max_length=64, optimizer=FAST)
    recorder = align(
        start, preferences, tmp_path, reward_model=reward_model, steps=20, prompts_per_step=8, batch_size=32, kl_bound=3.0
    )
    told = summary(recorder)
    assert told["reward_model_accuracy"] == 1.0
    assert told["heldout_reward"] > told["heldout_reward_before"]
    assert 0 < told["kl"] <= 3.0
    assert (told["reward_model_train_pairs"], told["reward_model_heldout_pairs"]) == (8, 6)
    assert told["reward_model_train_pairs_left_out"] == told["reward_model_heldout_pairs_left_out"] == 0
    rows = recorder.tables["answers"]
    assert told["heldout_length"] == pytest.approx(sum(int(row["tokens_after"] or 0) for row in rows) / len(rows))
    assert told["heldout_cut_share"] == sum(row["tokens_after"] == 12 for row in rows) / len(rows)
    assert {"heldout_length_before", "heldout_cut_share_before", "length", "cut_share"} <= set(told)
    assert recorder.charts["length"].series["length"][-1] == told["length"]
    texts = [str(row["after"]) for row in recorder.tables["answers"]]
    assert sum(text.startswith("Yes") for text in texts) > len(texts) / 2
    model.validate_model(tmp_path / "out")
    names = {name for _, values in recorder.metrics_seen for name in values}
    assert {"reward_model/loss", "loss", "kl"} <= names


def test_a_policy_that_stays_put_gets_the_reward_it_had(start: Path, preferences: Path, tmp_path: Path) -> None:
    """In bf16 too, where TRL has the reward model run in bf16 during the training."""
    still = OptimizerConfig(name="adamw", learning_rate=1e-12, warmup_steps=1)
    told = summary(align(start, preferences, tmp_path, precision="bf16", optimizer=still, steps=2))
    assert told["heldout_reward"] == told["heldout_reward_before"]
    assert told["kl"] == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_a_greater_beta_stays_closer(start: Path, preferences: Path, tmp_path: Path) -> None:
    told = [summary(align(start, preferences, tmp_path / str(beta), beta=beta, steps=12)) for beta in (0.01, 5.0)]
    assert told[1]["kl"] < told[0]["kl"]


def test_a_policy_beyond_the_bound_is_refused(start: Path, preferences: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"nats per answer at .* over kl_bound 0\.0001"):
        align(start, preferences, tmp_path, kl_bound=1e-4)


@pytest.mark.parametrize(("phase", "step"), [("reward_model", 5), ("policy", 5)])
def test_a_killed_run_ends_with_the_bytes_of_an_uninterrupted_one(
    phase: str, step: int, start: Path, preferences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = summary(align(start, preferences, tmp_path / "whole"))

    def stop(self: Recorder, done: float, total: float | None, unit: str, label: str) -> None:
        if (label, done) == (phase, step):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "progress", stop)
        with pytest.raises(KeyboardInterrupt):
            align(start, preferences, tmp_path / "killed")
    assert summary(align(start, preferences, tmp_path / "killed")) == whole
    assert results(tmp_path / "killed") == results(tmp_path / "whole")


@pytest.mark.slow
def test_the_seed_decides_the_bytes(start: Path, preferences: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        align(start, preferences, tmp_path / name, seed, steps=2)
    assert results(tmp_path / "one") == results(tmp_path / "same")
    assert results(tmp_path / "one") != results(tmp_path / "other")


def test_the_labelled_head_changes_no_step(
    start: Path, preferences: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contextlib import nullcontext

    from workbench_trl import trainer

    align(start, preferences, tmp_path / "labelled", steps=4)
    monkeypatch.setattr(trainer, "labelled_head", nullcontext)
    align(start, preferences, tmp_path / "stock", steps=4)
    ours, theirs = (read_training_log(tmp_path / name / "out") for name in ("labelled", "stock"))
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other, rel=2e-3, abs=1e-4)


def test_the_divergence_is_that_of_the_definition(start: Path, tmp_path: Path) -> None:
    """Against the probabilities of every token, one prefix at a time; a model is at no distance from itself."""
    import torch
    from workbench_align_rlhf.divergence import divergence

    from workbench.models import scoring

    reference, policy = scoring.load(start, "cpu"), scoring.load(start, "cpu")
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(1.05)
    prompts, answers = [(5, 6, 7), (8, 9)], [(10, 11), (12, 13, 14)]
    assert divergence(reference, reference, prompts, answers, 2) == [0.0, 0.0]
    found = divergence(policy, reference, prompts, answers, 2)
    for value, prompt, reply in zip(found, prompts, answers, strict=True):
        expected = 0.0
        for end in range(len(reply)):
            prefix = torch.tensor([[*prompt, *reply[:end]]])
            with torch.inference_mode():
                p, q = (side.model(input_ids=prefix).logits[0, -1].double().softmax(-1) for side in (policy, reference))
            expected += float((p * (p / q).log()).sum())
        assert value == pytest.approx(expected, rel=1e-3)


def test_what_cannot_work_is_refused(start: Path, preferences: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not divide"):
        RlhfConfig(group_size=3, batch_size=32)
    with pytest.raises(ParamsError, match="window has 64"):
        align(start, preferences, tmp_path, max_tokens=60)
    lonely = tmp_path / "lonely"
    examples.write(lonely, [Preference(question("red"), (answer(YES),), (answer(NO),))], Preference.schema)
    with pytest.raises(ArtifactError, match="heldout has no preference"):
        align(start, lonely, tmp_path)


def test_a_reward_model_at_chance_ends_the_stage_before_the_policy_is_trained(start: Path, tmp_path: Path) -> None:
    """People answer one way in training and the other way round held out: what was learnt is worth less than a coin."""
    rows = [Preference(question(c), (answer(YES),), (answer(NO),)) for c in COLOURS[:8]]
    rows += [Preference(question(c), (answer(NO),), (answer(YES),), "heldout") for c in HELDOUT]
    examples.write(tmp_path / "data", rows, Preference.schema)
    own = RewardModelConfig(steps=20, batch_size=8, max_length=64, optimizer=FAST)
    with pytest.raises(TrainingError, match="not told from chance: it ranks 0 of 6 held-out prompts rightly") as caught:
        align(start, tmp_path / "data", tmp_path, reward_model=own)
    assert "reward_model.certainty" in caught.value.fix
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "checkpoints").glob("checkpoint-*")), "no step of the policy"


def test_chance_is_ruled_out_by_prompts_and_not_by_pairs() -> None:
    """Against the table of the sign test; ten pairs of one prompt say no more than one."""
    from workbench_align_rlhf.chance import probability, require_better

    assert [round(probability(*known), 4) for known in ((5, 5), (4, 5), (8, 10), (9, 10), (0, 0))] == [
        0.0312,
        0.1875,
        0.0547,
        0.0107,
        1.0,
    ]
    many = [{"prompt": number} for number in range(10)]
    require_better(many, [1.0] * 9 + [-1.0], 0.95, "align")
    with pytest.raises(TrainingError, match="8 of 10"):
        require_better(many, [1.0] * 8 + [-1.0] * 2, 0.95, "align")
    with pytest.raises(TrainingError, match="1 of 1"):
        require_better([{"prompt": 0}] * 10, [1.0] * 10, 0.95, "align")
    with pytest.raises(TrainingError, match="0 of 0"):
        require_better(many, [0.0] * 10, 0.95, "align")
    with pytest.raises(TrainingError):
        require_better(many, [1.0] * 9 + [float("nan")], 0.95, "align")
    require_better(many, [-1.0] * 10, 0.0, "align")


def test_pairs_longer_than_max_length_are_counted_and_none_left_is_refused(start: Path, tmp_path: Path) -> None:
    rows = [Preference(question(c), (answer(YES),), (answer(NO),), "heldout" if c in HELDOUT else "train") for c in COLOURS]
    rows += [Preference(question(c), (answer(YES * 4),), (answer(NO),)) for c in ("red", "green", "blue")]
    examples.write(tmp_path / "data", rows, Preference.schema)
    own = RewardModelConfig(steps=4, batch_size=4, max_length=40, optimizer=FAST, certainty=0)
    recorder = align(start, tmp_path / "data", tmp_path / "some", reward_model=own, steps=2)
    told = summary(recorder)
    assert (told["reward_model_train_pairs"], told["reward_model_train_pairs_left_out"]) == (8, 3)
    assert recorder.warnings == ["3 of 11 pairs of the split train are longer than reward_model.max_length 40 and left out"]
    with pytest.raises(ParamsError, match="all 11 pairs of the split train are longer than max_length 8") as caught:
        align(start, tmp_path / "data", tmp_path / "none", reward_model=own.model_copy(update={"max_length": 8}))
    assert caught.value.where.endswith("key reward_model.max_length")
    rows += [Preference(question("red"), (answer(YES * 9),), (answer(NO),))]
    examples.write(tmp_path / "long", rows, Preference.schema)
    with pytest.raises(ParamsError, match="the model's window has 64"):
        align(start, tmp_path / "long", tmp_path / "window", reward_model=own.model_copy(update={"max_length": 200}))


def test_a_bound_is_not_kept_by_what_is_no_number() -> None:
    """TRL leaves answers out whose reward is NaN."""
    from transformers import TrainerControl, TrainerState, TrainingArguments
    from workbench_align_rlhf.bound import KlBound, require_inside

    logged = {"kl": 0.0, "completions/mean_length": 3.0, "reward": float("nan")}
    with pytest.raises(TrainingError, match="the reward model gave nan"):
        KlBound(3.0, "align").on_log(TrainingArguments(), TrainerState(), TrainerControl(), logs=logged)
    with pytest.raises(TrainingError, match="nan nats"):
        require_inside(float("nan"), 3.0, "the end", "align")
