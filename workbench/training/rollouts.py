"""What training on a model's own answers needs besides the trainer: prompts that leave room, answers as text, cut ones known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.errors import ParamsError
from workbench.models.scoring import CausalModel

Row = Mapping[str, Any]


def encode_prompts(model: CausalModel, rows: Sequence[Row], max_tokens: int, stage: str) -> list[tuple[int, ...]]:
    """Token ids of each row's ``prompt``, up to the start of the answer.

    Raises:
        ParamsError: a prompt leaves no room for an answer of ``max_tokens`` in the model's window.
    """
    prompts = model.encode([model.render(row["prompt"], add_generation_prompt=True) for row in rows])
    longest = max(map(len, prompts), default=0)
    if longest + max_tokens > model.window:
        raise ParamsError(
            f"a prompt has {longest} tokens and an answer up to {max_tokens}; the model's window has {model.window}",
            f"params.yaml, stage {stage}",
            f"lower max_tokens to {model.window - longest}" if longest < model.window else "drop the long prompts from the data",
        )
    return prompts


def cut(answers: Sequence[tuple[int, ...]], max_tokens: int) -> list[bool]:
    """Whether each generated answer was ended by the token limit: one that the model ended leaves room for the end token."""
    return [len(answer) >= max_tokens for answer in answers]


def decode(model: CausalModel, answers: Sequence[tuple[int, ...]]) -> list[str]:
    """The texts of generated answers."""
    texts: list[str] = model.tokenizer.batch_decode([list(answer) for answer in answers], skip_special_tokens=True)
    return texts
