"""Text generation with causal language models, for evaluations and reports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.errors import ParamsError
from workbench.models.scoring import CausalModel

if TYPE_CHECKING:
    from transformers import GenerationConfig


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen."""

    max_tokens: int
    """Maximum number of generated tokens."""
    temperature: float = 1.0
    """0 picks the most likely token."""
    seed: int = 0
    """Seed of the draws; no effect at temperature 0."""
    batch_size: int = 50
    """Prompts run together; it affects the draws that a prompt gets."""
    top_p: float = 1.0
    """Draws come from the most likely tokens that have this share of the probability together."""
    top_k: int = 0
    """Draws come from this many most likely tokens; 0 takes all."""


def generate(model: CausalModel, prompts: Sequence[tuple[int, ...]], sampling: Sampling) -> list[tuple[int, ...]]:
    """Continue each prompt up to the end-of-sequence token, which is left out; results follow the order of the prompts.

    Prompts of the same length run together, without padding.

    Raises:
        ParamsError: a prompt and ``max_tokens`` do not fit the model's window together.
    """
    import torch

    require_room(model, prompts, sampling.max_tokens)
    by_length: dict[int, list[int]] = defaultdict(list)
    for index, prompt in enumerate(prompts):
        by_length[len(prompt)].append(index)
    written: dict[int, tuple[int, ...]] = {}
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(sampling.seed)
        for length in sorted(by_length):
            indices = by_length[length]
            for start in range(0, len(indices), sampling.batch_size):
                batch = indices[start : start + sampling.batch_size]
                outputs = _continue(model, [prompts[index] for index in batch], sampling)
                written.update(zip(batch, outputs, strict=True))
    return [written[index] for index in range(len(prompts))]


def require_room(model: CausalModel, prompts: Sequence[tuple[int, ...]], max_tokens: int) -> None:
    """Refuse prompts that leave no room in the model's window for what is to be written.

    Raises:
        ParamsError: names the longest.
    """
    longest = max(prompts, key=len, default=())
    if longest and len(longest) + max_tokens > model.window:
        start = " ".join(model.tokenizer.decode(longest[:20]).split())
        raise ParamsError(
            f"{max_tokens} tokens are to be written after a prompt of {len(longest)}, and the model's window has {model.window}",
            f"the stage's entry in params.yaml; the prompt begins {start!r}",
            f"write at most {model.window - len(longest)} tokens a text" if len(longest) < model.window else "shorten the prompt",
        )


def _continue(model: CausalModel, prompts: Sequence[tuple[int, ...]], sampling: Sampling) -> list[tuple[int, ...]]:
    import torch

    inputs = torch.tensor(prompts, device=model.model.device)  # (B, T)
    outputs = model.model.generate(
        input_ids=inputs, attention_mask=torch.ones_like(inputs), generation_config=_settings(model, sampling)
    )
    return [_until_end(row, model.tokenizer.eos_token_id) for row in outputs[:, inputs.shape[1] :].tolist()]


def _settings(model: CausalModel, sampling: Sampling) -> GenerationConfig:
    from transformers import GenerationConfig

    end = model.tokenizer.eos_token_id
    pad = end if model.tokenizer.pad_token_id is None else model.tokenizer.pad_token_id
    drawn = (
        {"do_sample": True, "temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p}
        if sampling.temperature
        else {}
    )
    return GenerationConfig(max_new_tokens=sampling.max_tokens, eos_token_id=end, pad_token_id=pad, **drawn)


def _until_end(tokens: list[int], end: int | None) -> tuple[int, ...]:
    return tuple(tokens[: tokens.index(end)]) if end in tokens else tuple(tokens)
