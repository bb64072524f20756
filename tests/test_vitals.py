"""What a loss spike is, and how a data set names its rows."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import Trainer, TrainingArguments

from workbench.errors import TrainingError
from workbench.testing import make_run
from workbench.training.trainer import train
from workbench.training.vitals import LEAST, WINDOW, Losses, first_not_finite, ids_at


def steady(number: int) -> list[float]:
    """Losses about 3, each 0.4 from the one before."""
    return [3.0 + 0.2 * (-1) ** step for step in range(number)]


def test_a_loss_far_above_the_last_ones_is_a_spike() -> None:
    losses = Losses(10.0, steady(WINDOW))
    assert losses.median == pytest.approx(3.0)
    assert losses.limit == pytest.approx(3.0 + 10 * 1.4826 * 0.4 / math.sqrt(2))


def test_the_deviation_is_that_of_a_normal_distribution() -> None:
    drawing = random.Random(0)
    limits = [Losses(10.0, [drawing.gauss(3.0, 0.5) for _ in range(WINDOW)]).limit for _ in range(200)]
    assert sum(limits) / len(limits) == pytest.approx(3.0 + 10 * 0.5, rel=0.03)


def test_a_falling_loss_does_not_pass_for_a_scattered_one() -> None:
    losses = Losses(10.0, [7.0 * 0.85**step for step in range(30)])
    assert losses.limit == pytest.approx(7.0 + 1.0)


def test_a_still_loss_may_rise_by_one() -> None:
    assert Losses(10.0, [0.0] * WINDOW).limit == 1.0


def saw(step: int) -> float:
    """As of batches sorted by length: from 4.5 down to 1.7 in fifty steps, and up again at once."""
    return 4.5 - 2.8 * (step % 50) / 49


def mixture(step: int) -> float:
    """Every seventh batch is of a kind that is learnt slowly."""
    return 2.8 - 0.001 * step if step % 7 == 3 else 0.7 + 4 * 0.97**step


@pytest.mark.parametrize("loss", [saw, mixture])
def test_healthy_losses_of_batches_of_several_kinds_are_no_spikes(loss: Callable[[int], float]) -> None:
    losses = Losses(10.0)
    assert not any(losses.add(loss(step)) for step in range(400))


def test_spikes_are_counted_in_a_row_and_do_not_hide_later_ones() -> None:
    losses = Losses(10.0, steady(WINDOW))
    assert [losses.add(loss) for loss in (9.0, 1e9, 3.0)] == [True, True, False]
    assert losses.spikes == 0
    assert all(losses.add(1e9) for _ in range(WINDOW))
    assert losses.spikes == WINDOW
    assert losses.limit < 10


def test_the_first_steps_and_null_let_everything_pass() -> None:
    assert Losses(10.0, steady(LEAST - 1)).limit == math.inf
    assert Losses(None, steady(WINDOW)).limit == math.inf


def test_only_the_last_steps_count() -> None:
    losses = Losses(10.0, [100.0] * 1000)
    losses.recent.extend([1.0] * WINDOW)
    assert losses.limit == 2.0


def test_a_data_set_names_its_rows() -> None:
    class Packed:
        def ids_at(self, position: int) -> Sequence[str]:
            return [f"document {position}", f"document {position + 1}"]

    assert ids_at(Packed(), 3) == ["document 3", "document 4"]
    assert ids_at([{"id": "a"}, {"id": "b"}], 1) == ["b"]
    assert ids_at([{"text": "a"}, {"text": "b"}], 1) == ["row 1"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_first_bad_tensor_is_named(value: float) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    assert first_not_finite(model) == ""
    with torch.no_grad():
        model[1].weight[1, 0] = value
    assert first_not_finite(model) == "1.weight (2, 2)"


def test_huge_weights_are_finite() -> None:
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight.fill_(1e38)
    assert first_not_finite(model) == ""


def test_a_training_set_may_be_a_list(tmp_path: Path) -> None:
    """On which no method can be replaced; the batch of a loss that is not finite is named all the same."""

    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"loss": (self.weight * x).mean()}

    run = make_run(tmp_path)
    rows = [{"x": 1.0}, {"x": 2.0}, {"x": math.nan}]
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "out"),
        max_steps=3,
        per_device_train_batch_size=1,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
    )
    trainer = Trainer(model=Broken(), args=arguments, train_dataset=rows)
    with pytest.raises(TrainingError, match="the loss is nan") as caught:
        train(trainer, run)
    assert "batch: row 2" in caught.value.where
