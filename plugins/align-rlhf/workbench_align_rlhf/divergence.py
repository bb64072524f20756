"""How far a policy has gone from its reference. Importing this module imports torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from workbench.models.scoring import CausalModel

Tokens = tuple[int, ...]


def divergence(
    policy: CausalModel, reference: CausalModel, prompts: Sequence[Tokens], answers: Sequence[Tokens], batch_size: int
) -> list[float]:
    """KL(policy ‖ reference) over whole answers, in nats, estimated from one answer of the policy to each prompt.

    At each token of the answer the divergence of the two next-token distributions is summed exactly, which varies less
    than the difference of the log-probabilities of the tokens drawn and is never below zero.
    """
    found: list[float] = []
    with torch.inference_mode():
        for start in range(0, len(prompts), batch_size):
            pairs = list(zip(prompts[start : start + batch_size], answers[start : start + batch_size], strict=True))
            width = max(len(prompt) + len(answer) for prompt, answer in pairs)
            rows = [[*prompt, *answer, *[0] * (width - len(prompt) - len(answer))] for prompt, answer in pairs]  # right: unseen
            inputs = torch.tensor(rows, device=policy.model.device)  # (B, T)
            ours = policy.model(input_ids=inputs).logits.float().log_softmax(-1)  # (B, T, V)
            theirs = reference.model(input_ids=inputs).logits.float().log_softmax(-1)
            each = (ours.exp() * (ours - theirs)).sum(-1)  # (B, T): at t, of the token at t + 1
            for row, (prompt, answer) in zip(each, pairs, strict=True):
                found.append(float(row[len(prompt) - 1 : len(prompt) + len(answer) - 1].sum()))
    return found
