"""Numbers that are not finite, or a loss that spikes: training ends there and names the batch; what is sound is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_model
import torch
from tiny_model import build_model, turn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from workbench_align_dpo import Dpo, DpoConfig
from workbench_align_kto import Kto, KtoConfig
from workbench_align_rlhf import RewardModelConfig, Rlhf, RlhfConfig
from workbench_pretrain_causal import Causal, CausalConfig
from workbench_sft_trl import Trl, TrlConfig

from workbench.artifacts import examples
from workbench.artifacts.examples import Conversation, Preference
from workbench.errors import TrainingError
from workbench.kinds.training import OptimizerConfig
from workbench.testing import Recorder, make_run
from workbench.training.checkpoints import look

pytestmark = pytest.mark.fault(8)
slow = pytest.mark.slow
SOUND = OptimizerConfig(name="adamw", learning_rate=5e-3, warmup_steps=1)
WILD = OptimizerConfig(name="adamw", learning_rate=1e30, warmup_steps=0)
QUESTIONS = [f"Is {number} a number?" for number in range(12)]
Change = Callable[[Any], None]
"""What is done to a model when a step has been taken."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("base"), window=64)


@pytest.fixture(scope="module")
def conversations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conversations")
    rows = [Conversation((turn("user", question), turn("assistant", "Yes, it is one."))) for question in QUESTIONS]
    examples.write(folder, rows, Conversation.schema)
    return folder


@pytest.fixture(scope="module")
def preferences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preferences")
    sides = (turn("assistant", "Yes, it is."),), (turn("assistant", "No, never."),)
    rows = [Preference((turn("user", q),), *sides, "heldout" if q is QUESTIONS[0] else "train") for q in QUESTIONS]
    examples.write(folder, rows, Preference.schema)
    return folder


class After(TrainerCallback):
    """Changes the model after one step, as a bad kernel or a bad optimizer would."""

    def __init__(self, step: int, change: Change) -> None:
        self._step, self._change = step, change

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **_: object
    ) -> None:
        if state.global_step + 1 == self._step:
            self._change(model)


class Broken(Trl):
    """sft ``trl`` with a fault."""

    after: After

    def _trainer(self, *args: Any) -> Any:
        trainer = super()._trainer(*args)
        trainer.add_callback(self.after)
        return trainer


def finetune(base: Path, data: Path, folder: Path, after: After | None = None, **settings: Any) -> Recorder:
    run = make_run(folder)
    run.compute = replace(run.compute, loss_spike=settings.pop("loss_spike", 10.0))
    values = {"steps": 12, "batch_size": 3, "max_length": 64, "optimizer": SOUND, "logging_steps": 1, "save_steps": 4, **settings}
    stage = Broken(TrlConfig(**values)) if after else Trl(TrlConfig(**values))
    if isinstance(stage, Broken) and after:
        stage.after = after
    try:
        stage.execute({"model": base, "data": data}, {"out": folder / "out"}, run)
    finally:
        held = [values["loss"] for _, values in run.listener.metrics_seen if "loss" in values]
        assert all(math.isfinite(loss) and loss != 0.0 for loss in held), "a loss was logged that was none"
    return run.listener


def fails(run: Callable[[], object]) -> str:
    with pytest.raises(TrainingError) as caught:
        run()
    return str(caught.value)


def ids_of(data: Path) -> set[str]:
    return {row["id"] for row in examples.read(data, "train")}


def named(message: str) -> list[str]:
    """The ids of the batch in a message."""
    return next(line for line in message.splitlines() if "where:" in line).split("batch: ")[1].split(", ")


def set_weight(value: float) -> Change:
    def change(model: Any) -> None:
        with torch.no_grad():
            model.model.layers[1].mlp.up_proj.weight[3, 5] = value

    return change


def set_gradient(model: Any) -> None:
    """From the next step on, each gradient of one tensor is NaN."""
    model.model.layers[0].mlp.up_proj.weight.register_hook(lambda gradient: torch.full_like(gradient, math.nan))


def test_a_learning_rate_that_diverges(base: Path, conversations: Path, tmp_path: Path) -> None:
    message = fails(lambda: finetune(base, conversations, tmp_path, optimizer=WILD))
    assert "training was ended at step 2: the loss is nan" in message
    assert len(named(message)) == 3
    assert set(named(message)) <= ids_of(conversations)
    assert "lower learning_rate" in message
    assert "there was no checkpoint yet" in message


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_weight_that_is_not_finite(value: float, base: Path, conversations: Path, tmp_path: Path) -> None:
    """It is seen in the loss of the next step, and the step that made it is named."""
    message = fails(lambda: finetune(base, conversations, tmp_path, After(6, set_weight(value))))
    assert "training was ended at step 6: the weights are not finite after it, in model.layers.1.mlp.up_proj.weight" in message
    assert len(named(message)) == 3
    assert "checkpoint-4 in" in message
    assert [path.name for path in (tmp_path / "checkpoints").glob("checkpoint-*")] == ["checkpoint-4"]


def test_a_weight_that_is_not_finite_is_not_saved(base: Path, conversations: Path, tmp_path: Path) -> None:
    message = fails(lambda: finetune(base, conversations, tmp_path, After(8, set_weight(math.nan))))
    assert "training was ended at step 8: the weights are not finite after it" in message
    assert [path.name for path in (tmp_path / "checkpoints").glob("checkpoint-*")] == ["checkpoint-4"]
    assert look(tmp_path / "checkpoints").newest == tmp_path / "checkpoints" / "checkpoint-4"


def test_a_weight_that_is_not_finite_after_the_last_step(base: Path, conversations: Path, tmp_path: Path) -> None:
    message = fails(lambda: finetune(base, conversations, tmp_path, After(12, set_weight(math.inf))))
    assert "training was ended at step 12" in message
    assert not (tmp_path / "out").exists()


def test_a_weight_that_is_not_finite_at_the_start(base: Path, conversations: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base)
    set_weight(math.nan)(model)
    model.save_pretrained(tmp_path / "spoilt")
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "spoilt")
    message = fails(lambda: finetune(tmp_path / "spoilt", conversations, tmp_path))
    assert "step 1: the weights are not finite before it, in model.layers.1.mlp.up_proj.weight" in message


def test_a_gradient_that_is_not_finite(base: Path, conversations: Path, tmp_path: Path) -> None:
    message = fails(lambda: finetune(base, conversations, tmp_path, After(6, set_gradient)))
    assert "training was ended at step 7: the gradient norm is nan, with a loss of" in message
    assert len(named(message)) == 3


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conversations that are alike."""
    folder = tmp_path_factory.mktemp("many")
    rows = [
        Conversation((turn("user", f"{word} {question}"), turn("assistant", "Yes, it is one.")))
        for word in ("So:", "Now:", "Well:", "Hm:", "Oh:", "And:", "But:")
        for question in QUESTIONS
    ]
    examples.write(folder, rows, Conversation.schema)
    return folder


def spiked(base: Path, data: Path, folder: Path, after: After | None, **settings: Any) -> Recorder:
    folder.mkdir(exist_ok=True)
    return finetune(base, data, folder, after, steps=36, batch_size=1, group_by_length=False, **settings)


def spoil(model: Any) -> None:
    """As after a step that was far too long: what was likely is not."""
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(-3)


class Once(After):
    """Spoils the model for one step."""

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **_: object
    ) -> None:
        if state.global_step in (26, 27):
            with torch.no_grad():
                model.get_output_embeddings().weight.mul_(-3 if state.global_step == 26 else -1 / 3)


@pytest.mark.parametrize("passes", [1, 2])
def test_a_single_spike_is_shown_with_its_batch_and_ends_nothing(passes: int, base: Path, many: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="step 28: the loss has shot up to"):
        found = spiked(base, many, tmp_path, Once(0, spoil), gradient_accumulation=passes)
    shown = found.tables["loss-spikes"]
    assert [row["step"] for row in shown] == [28] * passes
    assert {row["id"] for row in shown} <= ids_of(many)
    assert all(float(row["loss"] or 0) > float(row["limit"] or 0) for row in shown)


@pytest.mark.filterwarnings("ignore:step .*the loss has shot up")
def test_a_loss_that_stays_far_up(base: Path, many: Path, tmp_path: Path) -> None:
    """It ends training; so it does after a resume, which knows the spikes before the checkpoint."""
    message = fails(lambda: spiked(base, many, tmp_path, After(27, spoil)))
    assert "training was ended at step 30: the loss has shot up to" in message
    assert "was as high in 3 steps in a row" in message
    assert len(named(message)) == 3
    assert "`loss_spike` in compute.yaml" in message
    assert look(tmp_path / "checkpoints").newest == tmp_path / "checkpoints" / "checkpoint-28"
    again = fails(lambda: spiked(base, many, tmp_path, None))
    assert "training was ended at step 30" in again
    assert set(named(again)) < set(named(message))


@pytest.mark.filterwarnings("ignore:step .*the loss has shot up")
def test_a_spike_that_is_let_pass(base: Path, many: Path, tmp_path: Path) -> None:
    """The limit is no part of the result: the training that it has ended goes on from its checkpoint, to the same bytes."""
    fails(lambda: spiked(base, many, tmp_path / "ended", After(27, spoil)))
    spiked(base, many, tmp_path / "ended", None, loss_spike=None)
    spiked(base, many, tmp_path / "whole", After(27, spoil), loss_spike=None)
    weights = [(tmp_path / name / "out" / "model.safetensors").read_bytes() for name in ("ended", "whole")]
    assert weights[0] == weights[1]


def stages(base: Path, preferences: Path, folder: Path) -> Iterator[tuple[str, Any, dict[str, Path]]]:
    """Every kind of trainer, with a learning rate that diverges."""
    common: dict[str, Any] = {"steps": 6, "batch_size": 2, "max_length": 64, "optimizer": WILD}
    data = {"model": base, "data": preferences}
    yield "dpo", Dpo(DpoConfig(**common)), data
    yield "kto", Kto(KtoConfig(**common)), data
    own = RewardModelConfig(steps=4, batch_size=2, max_length=64, optimizer=WILD)
    yield "rlhf", Rlhf(RlhfConfig(reward_model=own, steps=2, max_tokens=6, batch_size=4, heldout=1)), data
    corpus = folder / "corpus"
    corpus.mkdir()
    tiny_model.write_corpus(corpus, tiny_model.documents(40))
    architecture = {"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CausalConfig(architecture=architecture, context_length=16, tokens=16 * 4 * 6, batch_size=4, optimizer=WILD)
    yield "causal", Causal(config), {"corpus": corpus, "tokenizer": base}


@pytest.mark.parametrize("name", ["dpo", "causal", pytest.param("kto", marks=slow), pytest.param("rlhf", marks=slow)])
def test_every_trainer_stops(name: str, base: Path, preferences: Path, tmp_path: Path) -> None:
    stage, inputs = next((stage, inputs) for known, stage, inputs in stages(base, preferences, tmp_path) if known == name)
    run = make_run(tmp_path)
    message = fails(lambda: stage.execute(inputs, {"out": tmp_path / "out"}, run))
    assert "training was ended at step" in message
    known = {d.id for d in tiny_model.documents(40)} if name == "causal" else ids_of(preferences)
    assert named(message)
    assert {identity.removesuffix(" and") for identity in named(message)} <= known
    assert not (tmp_path / "out").exists()
