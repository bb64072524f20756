"""The labelled head changes the speed of TRL's trainers and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_model import build_model

QUESTIONS = [
    ("What is red?", "A colour."),
    ("What is a cat, and what does it eat?", "An animal that eats mice and fish."),
    ("Why?", "So."),
]


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("tiny"), window=64)


def steps(
    trainer_class: Any, config_class: Any, rows: list[dict[str, Any]], folder: Path, out: Path, **settings: Any
) -> tuple[list[Any], Any]:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder)
    arguments = config_class(
        output_dir=str(out),
        max_steps=4,
        per_device_train_batch_size=3,
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        bf16=False,
        activation_checkpointing=False,
        max_length=64,
        seed=0,
        **settings,
    )
    trainer = trainer_class(
        model=model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=AutoTokenizer.from_pretrained(folder)
    )
    trainer.train()
    return [log for log in trainer.state.log_history if "loss" in log], model


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_losses_metrics_and_weights_equal_trl_step_by_step(kind: str, tmp_path: Path, tiny_folder: Path) -> None:
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer
    from workbench_trl.labelled_head import labelled_head

    def turn(role: str, text: str) -> dict[str, str]:
        return {"role": role, "content": text}

    if kind == "sft":
        rows: list[dict[str, Any]] = [{"messages": [turn("user", q), turn("assistant", a)]} for q, a in QUESTIONS]
        arguments = (SFTConfig, rows, tiny_folder, tmp_path)
        settings: dict[str, Any] = {"assistant_only_loss": True}
        trainer_class: Any = SFTTrainer
    else:
        rows = [
            {"prompt": [turn("user", q)], "chosen": [turn("assistant", a)], "rejected": [turn("assistant", a[::-1])]}
            for q, a in QUESTIONS
        ]
        arguments = (DPOConfig, rows, tiny_folder, tmp_path)
        settings = {"precompute_ref_log_probs": True}
        trainer_class = DPOTrainer
    stock, stock_model = steps(trainer_class, *arguments, **settings)
    with labelled_head():
        ours, our_model = steps(trainer_class, *arguments, **settings)
    assert len(ours) == len(stock) == 4
    for mine, theirs in zip(ours, stock, strict=True):
        assert mine.keys() == theirs.keys()
        for name in mine.keys() - {"epoch", "num_tokens"}:
            assert float(mine[name]) == pytest.approx(float(theirs[name]), rel=1e-4, abs=1e-5), name
    for (name, mine), theirs in zip(our_model.named_parameters(), stock_model.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=2e-4), name


def test_the_gradient_is_that_of_log_softmax() -> None:
    from workbench_trl.labelled_head import LabelLogProb

    torch.manual_seed(0)
    hidden = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 3, 6, 1, 1])
    assert torch.autograd.gradcheck(lambda h, w: LabelLogProb.apply(h, w, None, targets, 0.7, 0)[0], (hidden, weight))
    expected = (hidden @ weight.t() / 0.7).log_softmax(1).gather(1, targets[:, None]).squeeze(1)
    assert torch.allclose(LabelLogProb.apply(hidden, weight, None, targets, 0.7, 0)[0], expected)


@pytest.mark.parametrize("states", [torch.float32, torch.bfloat16])
def test_under_autocast_it_agrees_with_float32(states: torch.dtype) -> None:
    """On a processor that multiplies in bfloat16, training runs under autocast, and its backward pass outside of it."""
    from workbench_trl.labelled_head import LabelLogProb

    torch.manual_seed(0)
    hidden = torch.randn(5, 16).to(states).requires_grad_()
    weight = torch.randn(7, 16, requires_grad=True)
    targets = torch.tensor([0, 3, 6, 1, 1])
    expected = (hidden.float() @ weight.t() / 0.7).log_softmax(1).gather(1, targets[:, None]).squeeze(1)
    wanted = torch.autograd.grad(expected.sum(), (hidden, weight))
    with torch.autocast("cpu", torch.bfloat16):
        found = LabelLogProb.apply(hidden, weight, None, targets, 0.7, 0)[0]
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=0.1)
    for mine, theirs in zip(torch.autograd.grad(found.sum(), (hidden, weight)), wanted, strict=True):
        assert mine.dtype == theirs.dtype
        assert torch.allclose(mine.float(), theirs.float(), atol=0.1)
