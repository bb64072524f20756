"""Whether there is anything to learn: rewards that differ within a group of answers to one problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from workbench.run import Run

Rows = Sequence[Mapping[str, float]]


def share(rows: Rows, columns: Sequence[str]) -> float | None:
    """Mean over a log of the share of groups whose rewards differ, of the column that has most; None if none was logged."""
    logged = [[row[column] for row in rows if row.get(column) is not None] for column in columns]
    return max((sum(values) / len(values) for values in logged if values), default=None)


def what_is_missing(rows: Rows) -> str:
    """Why nothing could be learnt from a log in which no rewards differ."""
    rewards = [row["reward"] for row in rows if row.get("reward") is not None]
    mean = f", {sum(rewards) / len(rewards):.3g} in the mean" if rewards else ""
    return f"within every group all answers got the same reward{mean}, so nothing could be learnt"


class Watch(TrainerCallback):
    """Warns where a training has not yet seen rewards that differ."""

    def __init__(self, columns: Sequence[str], run: Run) -> None:
        self._columns, self._run, self._warned = columns, run, False

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Look at all rows up to now, also those from before a kill."""
        if not self._warned and share(state.log_history, self._columns) == 0:
            self._warned = True
            self._run.warn(f"up to step {state.global_step} {what_is_missing(state.log_history)}")
