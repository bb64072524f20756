"""TRL's language-model head, run at labelled positions only, for CPUs.

TRL 1.16 scores labels with a fused head (``trl.trainer.utils.add_fused_lm_head``). On a GPU that head sees only positions
that have a label; elsewhere it sees every position, prompts and padding included, works in tiles of 32,768 columns
for any vocabulary size, and recomputes the logits in its backward pass. Here the same head sees labelled positions
only, with a kernel that keeps the probabilities. Losses, metrics, data preparation and reference stay TRL's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import trl.trainer.utils as trl_utils
from torch import Tensor


class LabelLogProb(torch.autograd.Function):
    """Stands in for TRL's ``ChunkedLogProbFunction`` where (labelled positions × vocabulary) fits in memory.

    hidden (n, d), weight (v, d), targets (n,) → five tensors (n,): log-probability, entropy, log of the sum of squared
    probabilities, mean logit, whether the target is the most probable token. Only the first has a gradient; of the
    others, those not named in ``outputs`` are None.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: float,
        chunk_size: int,  # noqa: ARG004
        softcap: float | None = None,
        logit_scale: float = 1.0,
        outputs: tuple[str, ...] = (),
    ) -> tuple[Tensor | None, ...]:
        """Score the targets."""
        if bias is not None or softcap is not None:
            raise NotImplementedError("a head with a bias or soft-capped logits requires TRL's own kernel")
        ctx.scale = logit_scale / temperature
        product = hidden @ weight.t()  # (n, v), in bfloat16 under autocast
        logits = product.to(torch.promote_types(product.dtype, torch.float32)) * ctx.scale
        log_z = logits.logsumexp(1, keepdim=True)
        probabilities = torch.exp(logits - log_z)
        label = logits.gather(1, targets[:, None])
        ctx.save_for_backward(hidden, weight, targets, probabilities)
        wanted: dict[str, Callable[[], Tensor]] = {
            "entropy": lambda: log_z.squeeze(1) - torch.linalg.vecdot(probabilities, logits),  # log Z - Σ p·z
            "log_sum_sq_probs": lambda: torch.linalg.vecdot(probabilities, probabilities).log(),
            "mean_logits": lambda: logits.mean(1),
            "is_top1": lambda: logits.argmax(1) == targets,
        }
        others = [measure() if name in outputs else None for name, measure in wanted.items()]
        ctx.mark_non_differentiable(*(value for value in others if value is not None))
        return ((label - log_z).squeeze(1), *others)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        """∂ log p[target] / ∂ logits = one-hot(target) - p, each row scaled by ``upstream`` (n,)."""
        hidden, weight, targets, probabilities = ctx.saved_tensors
        scaled = (upstream * ctx.scale)[:, None]
        gradient = probabilities * -scaled
        gradient.scatter_add_(1, targets[:, None], scaled)
        for_hidden, for_weight = ctx.needs_input_grad[:2]
        hidden, weight = hidden.to(gradient.dtype), weight.to(gradient.dtype)
        return (gradient @ weight if for_hidden else None, gradient.t() @ hidden if for_weight else None, *[None] * 7)


@contextmanager
def labelled_head() -> Iterator[None]:
    """While open, TRL's fused head scores labelled positions only.

    It swaps two names that ``add_fused_lm_head`` looks up at each call.

    Raises:
        AttributeError: another version of TRL has renamed them.
    """
    saved = trl_utils._use_triton, trl_utils._ChunkedLogProbFunction  # noqa: SLF001 - there is no public seam
    trl_utils._use_triton, trl_utils._ChunkedLogProbFunction = _always, LabelLogProb  # noqa: SLF001
    try:
        yield
    finally:
        trl_utils._use_triton, trl_utils._ChunkedLogProbFunction = saved  # noqa: SLF001


def _always(device: torch.device) -> bool:  # noqa: ARG001 - the signature is TRL's
    return True
