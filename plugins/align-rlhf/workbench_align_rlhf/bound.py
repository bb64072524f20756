"""A stop at the bound on the KL divergence.

Importing this module imports transformers; the plugin imports it inside its methods.
"""

from __future__ import annotations

import math

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from workbench.errors import TrainingError


class KlBound(TrainerCallback):
    """Ends a training that has left its bound, so that the rest of its steps is not spent on a model to be refused."""

    def __init__(self, bound: float, stage: str) -> None:
        self._bound, self._stage = bound, stage

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: object,
    ) -> None:
        """TRL logs the mean of log π - log π_ref over tokens; times the mean length it is that of an answer.

        Raises:
            TrainingError: the policy is beyond its bound, or a reward is no finite number, which TRL would pass over.
        """
        if logs and "kl" in logs:
            if not math.isfinite(logs["reward"]):
                raise TrainingError(
                    f"the reward model gave {logs['reward']} to answers at step {state.global_step}",
                    f"stage {self._stage}",
                    "lower reward_model.optimizer.learning_rate in params.yaml",
                )
            require_inside(logs["kl"] * logs["completions/mean_length"], self._bound, f"step {state.global_step}", self._stage)


def require_inside(divergence: float, bound: float, moment: str, stage: str) -> None:
    """Refuse a policy that is farther from the starting model than agreed.

    Raises:
        TrainingError: says by how much, and what to change.
    """
    if not divergence <= bound:  # NaN too
        raise TrainingError(
            f"the KL divergence from the starting model is {divergence:.3g} nats per answer at {moment}, over kl_bound {bound:g}",
            f"stage {stage}",
            "raise beta or kl_bound, or lower steps or learning_rate in params.yaml",
        )
