"""align `grpo` on sums of two digits, asked of a tiny model that mostly says `unsure`: what it learns, keeps and refuses."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from tiny_model import write_corpus
from workbench_align_grpo import Grpo, GrpoConfig
from workbench_align_grpo.rewards import Judge, require_verifiers, verify
from workbench_reward_exact_answer import ExactAnswer, ExactAnswerConfig
from workbench_reward_format import Format, FormatConfig
from workbench_sft_trl import Trl, TrlConfig
from workbench_tokenizer_bpe import Bpe, BpeConfig

from workbench.artifacts import examples, model
from workbench.artifacts.corpus import Document
from workbench.artifacts.examples import Conversation, Message, Problem
from workbench.errors import ArtifactError, ParamsError, PluginError, TrainingError
from workbench.kinds.training import OptimizerConfig, read_training_log
from workbench.testing import Recorder, make_run

HELDOUT = 20
SUMS = [(left, right) for left in range(10) for right in range(10)]
random.Random(0).shuffle(SUMS)
WINDOW = 32
END = 2


def question(left: int, right: int) -> tuple[Message, ...]:
    return ({"role": "user", "content": f"{left}+{right}="},)


def answer(text: str) -> Message:
    return {"role": "assistant", "content": text}


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("problems")
    rows = [
        Problem(question(*pair), str(sum(pair)), "exact-answer", "heldout" if place < HELDOUT else "train")
        for place, pair in enumerate(SUMS)
    ]
    examples.write(folder, rows, Problem.schema)
    return folder


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model fine-tuned on the training sums, each answered once rightly and once by `unsure`."""
    folder = tmp_path_factory.mktemp("start")
    rows = [Conversation((*question(*pair), answer(text))) for pair in SUMS[HELDOUT:] for text in (str(sum(pair)), "unsure")]
    examples.write(folder / "conversations", rows, Conversation.schema)
    run = make_run(folder)
    optimizer = OptimizerConfig(name="muon", matrix_learning_rate=0.02, learning_rate=0.007)
    config = TrlConfig(steps=250, batch_size=32, max_length=WINDOW, optimizer=optimizer, save_steps=1000)
    Trl(config).execute({"model": random_model(folder), "data": folder / "conversations"}, {"out": folder / "sft"}, run)
    return folder / "sft"


def random_model(folder: Path) -> Path:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    texts = [f"unsure {left}+{right}=" for left, right in SUMS]
    write_corpus(folder / "corpus", [Document(text, "sums", {"origin": text}) for text in texts])
    run = make_run(folder)
    bpe = Bpe(BpeConfig(vocab_size=269, split_digits=True))
    bpe.execute({"corpus": folder / "corpus"}, {"out": folder / "tokenizer"}, run)
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama",
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=WINDOW,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    return folder / "base"


def stage(rewards: list[Any] | None = None, **settings: Any) -> Grpo:
    optimizer = OptimizerConfig(name="muon", matrix_learning_rate=0.005, learning_rate=0.0015, warmup_steps=3, decay_share=0.5)
    small = {"steps": 6, "problems_per_step": 4, "group_size": 4, "batch_size": 16, "max_tokens": 4, "optimizer": optimizer}
    config = GrpoConfig(**{**small, "logging_steps": 1, "save_steps": 2, **settings})
    return Grpo(config, {"rewards": [ExactAnswer(ExactAnswerConfig())] if rewards is None else rewards})


def align(plugin: Grpo, start: Path, problems: Path, folder: Path, seed: int = 0) -> Recorder:
    folder.mkdir(exist_ok=True)
    run = make_run(folder, seed)
    plugin.execute({"model": start, "data": problems}, {"out": folder / "out"}, run)
    run.listener.metrics_seen.append((None, dict(run.summary)))
    return run.listener


def summary(recorder: Recorder) -> dict[str, float]:
    return recorder.metrics_seen[-1][1]


def weights(folder: Path) -> bytes:
    return (folder / "out" / "model.safetensors").read_bytes()


def log(folder: Path) -> bytes:
    return (folder / "out" / "training_log.csv").read_bytes()


def test_accuracy_on_heldout_sums_rises(start: Path, problems: Path, tmp_path: Path) -> None:
    plugin = stage(steps=30, problems_per_step=16, group_size=8, batch_size=128, logging_steps=10, save_steps=30)
    recorder = align(plugin, start, problems, tmp_path)
    told = summary(recorder)
    assert told["heldout_problems"] == HELDOUT
    assert told["heldout_accuracy"] >= told["heldout_accuracy_before"] + 0.2
    model.validate_model(tmp_path / "out")
    rows = recorder.tables["answers"]
    assert sum(row["score_after"] for row in rows) / len(rows) == pytest.approx(told["heldout_accuracy"])  # type: ignore[misc]
    for row in rows:
        left, right = str(row["problem"])[:-1].split("+")
        assert row["score_after"] == float(str(row["after"]) == str(int(left) + int(right)) and not row["cut_after"])
    assert told["heldout_cut_share"] == sum(bool(row["cut_after"]) for row in rows) / len(rows)
    assert 0 < told["differing_groups"] <= 1
    assert recorder.warnings == []
    rewards = [row["reward"] for row in read_training_log(tmp_path / "out")]
    assert rewards[-1] > rewards[0]
    assert recorder.charts["rewards"].series["exact-answer"] == rewards


def test_a_killed_run_ends_with_the_bytes_of_an_uninterrupted_one(
    start: Path, problems: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step is two forward passes, and each batch of answers serves two steps."""
    plugin = stage(batch_size=8, iterations=2, beta=0.1)
    whole = summary(align(plugin, start, problems, tmp_path / "whole"))

    def stop(self: Recorder, done: float, total: float | None, unit: str, label: str) -> None:
        if unit == "steps" and done == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "progress", stop)
        with pytest.raises(KeyboardInterrupt):
            align(plugin, start, problems, tmp_path / "killed")
    assert summary(align(plugin, start, problems, tmp_path / "killed")) == whole
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    assert log(tmp_path / "killed") == log(tmp_path / "whole")
    assert read_training_log(tmp_path / "whole" / "out")[-1]["kl"] > 0


def test_the_seed_decides_the_bytes(start: Path, problems: Path, tmp_path: Path) -> None:
    plugin = stage(steps=2)
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        align(plugin, start, problems, tmp_path / name, seed)
    assert weights(tmp_path / "one") == weights(tmp_path / "same")
    assert log(tmp_path / "one") == log(tmp_path / "same")
    assert weights(tmp_path / "one") != weights(tmp_path / "other")


def test_the_labelled_head_changes_no_step(start: Path, problems: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import nullcontext

    from workbench_trl import trainer

    plugin = stage(steps=4, loss="grpo", beta=0.05, iterations=2)
    align(plugin, start, problems, tmp_path / "labelled")
    monkeypatch.setattr(trainer, "labelled_head", nullcontext)
    align(plugin, start, problems, tmp_path / "stock")
    ours, theirs = (read_training_log(tmp_path / name / "out") for name in ("labelled", "stock"))
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other, rel=2e-3, abs=2e-5)


def test_a_verifier_scores_its_own_problems_and_a_shape_scores_all() -> None:
    rewards = [ExactAnswer(ExactAnswerConfig()), Format(FormatConfig(pattern=r"\d+")), Named("other")]
    rows = [{"id": name, "verifier": name, "answer": "7"} for name in ("exact-answer", "other")]
    verifiers = require_verifiers(rewards, rows, "data")
    exact, shape, other = (Judge(reward, reward.name in verifiers, frozenset({END}), 2) for reward in rewards)
    logged: dict[str, float] = {}
    batch: dict[str, Any] = {
        "completions": [[answer(text)] for text in ("7", "8", "7", "7", "7", "7")],
        "completion_ids": [[5, END]] * 5 + [[5, 6]],
        "answer": ["7"] * 6,
        "verifier": ["exact-answer"] * 2 + ["other"] * 2 + ["exact-answer"] * 2,
        "log_metric": logged.__setitem__,
    }
    assert exact(**batch) == [1.0, 0.0, None, None, 1.0, 0.0], "the last answer was cut"
    assert other(**batch) == [None, None, 1.0, 1.0, None, None]
    assert shape(**batch) == [1.0] * 6
    assert logged == {
        "rewards/exact-answer/differing_groups": pytest.approx(2 / 3),
        "rewards/other/differing_groups": 0.0,
        "rewards/format/differing_groups": 0.0,
    }


class Named(ExactAnswer):
    """A second verifier."""

    def __init__(self, name: str) -> None:
        super().__init__(ExactAnswerConfig())
        self.name = name  # type: ignore[misc]

    def score(self, completion: str, answer: str) -> float:
        return 1.0


def test_rewards_are_weighted(start: Path, problems: Path, tmp_path: Path) -> None:
    rewards = [ExactAnswer(ExactAnswerConfig()), Format(FormatConfig(pattern=r"\d+"))]
    align(stage(rewards, steps=1, save_steps=1, weights=(2.0, -0.5)), start, problems, tmp_path)
    row = read_training_log(tmp_path / "out")[0]
    expected = 2.0 * row["rewards/exact-answer/mean"] - 0.5 * row["rewards/format/mean"]
    assert row["reward"] == pytest.approx(expected, abs=1e-6)


def test_what_cannot_work_is_refused_before_training(start: Path, problems: Path, tmp_path: Path) -> None:
    with pytest.raises((ParamsError, PluginError), match="no reward"):
        Grpo(GrpoConfig())
    with pytest.raises(ParamsError, match="2 weights for 1 rewards"):
        stage(weights=(1.0, 2.0))
    with pytest.raises(ParamsError, match="all weights are 0"):
        stage(weights=(0.0,))
    with pytest.raises(ArtifactError, match=r"'exact-answer'.*not among the rewards"):
        align(stage([Format(FormatConfig())]), start, problems, tmp_path)
    with pytest.raises(ParamsError, match="window has 32"):
        align(stage(max_tokens=40), start, problems, tmp_path)


@pytest.mark.parametrize("settings", [{"group_size": 3, "batch_size": 32}, {"iterations": 3, "save_steps": 50}])
def test_batches_must_be_whole(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"does not divide|no multiple"):
        GrpoConfig(**settings)  # type: ignore[arg-type]


def test_an_answer_that_the_limit_cuts_is_wrong(start: Path, problems: Path, tmp_path: Path) -> None:
    """All answers are cut at one token, so that no verifier can tell, not even of sums below ten: nothing can be learnt."""
    row = {"verifier": "exact-answer", "answer": "4"}
    assert verify([ExactAnswer(ExactAnswerConfig())], [row, row], ["4", "4"], [False, True]) == [1.0, 0.0]
    plugin = stage(max_tokens=1, steps=2, if_nothing_learnt="warn")
    recorder = align(plugin, start, problems, tmp_path / "warned")
    told = summary(recorder)
    assert (told["heldout_cut_share_before"], told["heldout_cut_share"], told["cut_share"]) == (1.0, 1.0, 1.0)
    assert (told["heldout_accuracy"], told["reward"], told["differing_groups"]) == (0.0, 0.0, 0.0)
    assert recorder.charts["cut"].series["cut"][-1] == told["cut_share"]
    assert recorder.warnings == [
        "up to step 1 within every group all answers got the same reward, 0 in the mean, so nothing could be learnt"
    ]
    assert weights(tmp_path / "warned") == (start / "model.safetensors").read_bytes()
    with pytest.raises(TrainingError, match="in 2 steps within every group all answers got the same reward") as caught:
        align(stage(max_tokens=1, steps=2), start, problems, tmp_path / "refused")
    assert "max_tokens" in caught.value.fix
    assert not (tmp_path / "refused" / "out").exists()


def test_cut_answers_may_be_left_out_of_the_loss(start: Path, problems: Path, tmp_path: Path) -> None:
    """Nearly all are cut at one token, and they differ in their shape."""
    shape = [ExactAnswer(ExactAnswerConfig()), Format(FormatConfig(pattern=r"\d"))]
    for masked in (False, True):
        plugin = stage(shape, max_tokens=1, steps=2, mask_truncated_completions=masked)
        told = summary(align(plugin, start, problems, tmp_path / str(masked)))
        assert told["differing_groups"] > 0
        assert told["cut_share"] > 0.5
    assert weights(tmp_path / "True") != weights(tmp_path / "False")


class Undecided(ExactAnswer):
    """A verifier that can't say of some texts."""

    name = "exact-answer"

    def score(self, completion: str, answer: str) -> float:
        return float("nan") if completion == "unsure" else super().score(completion, answer)


def test_a_reward_that_is_no_number_is_refused_by_name_at_the_first_step(start: Path, problems: Path, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="reward 'exact-answer' gave nan") as caught:
        align(stage([Undecided(ExactAnswerConfig())], heldout=1), start, problems, tmp_path)
    assert "completion 'unsure'" in caught.value.where


def test_a_right_answer_that_its_verifier_calls_wrong_is_refused_first(start: Path, tmp_path: Path) -> None:
    rows = [Problem(question(1, place), text, "exact-answer") for place, text in enumerate(("1", "two"))]
    examples.write(tmp_path / "problems", rows, Problem.schema)
    with pytest.raises(ArtifactError, match=r"gives 1 of 2 right answers another score than 1.*'two', gets 0"):
        align(stage([ExactAnswer(ExactAnswerConfig(part="last-number"))]), tmp_path / "no-model", tmp_path / "problems", tmp_path)
