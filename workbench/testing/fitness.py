"""The process in which a trained model is tried: ``python fitness.py MODEL``. It prints what is wrong; exit code 1 if any is.

It knows only the model's directory, as every stage after training does.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.models import scoring
from workbench.models.scoring import Request

if TYPE_CHECKING:
    from workbench.models.scoring import CausalModel

TEXT = "The tide is out."
WRITTEN = 10
"""Tokens that the model is to write."""


def main(directory: Path) -> int:
    """Load the model, score a text and let it write; 1 if something is wrong."""
    try:
        wrong = examine(directory)
    except Exception as error:  # noqa: BLE001 - a model class may raise anything; it is reported
        wrong = f"{type(error).__name__}: {error}"
    print(wrong)  # noqa: T201 - the answer
    return 1 if wrong else 0


def examine(directory: Path) -> str:
    """What is wrong with a model; empty if nothing is."""
    model = scoring.load(directory, "cpu")
    text = model.encode([TEXT])[0]
    (score,) = scoring.score(model, [Request((model.start,), text)], batch_tokens=64)
    if not math.isfinite(score.log_likelihood):
        return f"the log-likelihood of a text is {score.log_likelihood}"
    return _writes(model, (model.start, *text))


def _writes(model: CausalModel, prompt: tuple[int, ...]) -> str:
    import torch

    inputs = torch.tensor([prompt])  # (B=1, T)
    with torch.inference_mode():
        written = model.model.generate(
            input_ids=inputs,
            attention_mask=torch.ones_like(inputs),
            do_sample=False,
            min_new_tokens=WRITTEN,  # an end token after one would show nothing of a cache
            max_new_tokens=WRITTEN,
            pad_token_id=model.start,
        )
    number = written.shape[1] - inputs.shape[1]
    return "" if number == WRITTEN else f"`generate` wrote {number} tokens instead of {WRITTEN}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
