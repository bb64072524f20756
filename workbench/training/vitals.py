"""Ends a training whose loss, gradient or weights are not finite, or whose loss stays far up, and names the batch.

Importing this module imports torch and transformers.
"""

from __future__ import annotations

import json
import math
import statistics
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from workbench.errors import TrainingError
from workbench.training.checkpoints import look

if TYPE_CHECKING:
    from workbench.run import Run

WINDOW = 50
"""Steps whose losses a new one is compared with."""
LEAST = 20
"""Steps before which no loss counts as a spike."""
LEAST_RISE = 1.0
"""Distance above the highest of the other losses, in the loss's unit, up to which a loss is no spike."""
IN_A_ROW = 3
"""Spikes, one step after the other, that end a training: a single batch may be of another kind."""
SCALE = 1.4826 / math.sqrt(2)
"""Factor from the median absolute difference of consecutive draws to the standard deviation of a normal distribution."""
SHOWN = 32
"""Ids shown in an error; the table in the run's record has all."""
FILE = "losses.json"
"""File of a checkpoint with what is known of the losses, so that a resumed run judges like an uninterrupted one."""


@runtime_checkable
class Sourced(Protocol):
    """A data set that knows the documents behind its items."""

    def ids_at(self, position: int) -> Sequence[str]:
        """Ids of the documents that the item at a position is made of."""


class _Rows(Dataset[Any]):
    """The items of a training set on which no method can be replaced, such as a list."""

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, position: int) -> Any:
        return self._items[position]


class Losses:
    """The losses of the last steps, and the threshold above which the next is a spike.

    A spike is above the median by more than ``factor`` standard deviations, and above each loss of the window by more than 1. The
    deviation is estimated by the median absolute difference of each loss to the one before, so that a steeply falling loss, as at
    the start of training, does not count as scatter. The highest loss stands for batches of another kind, of which a mixture has
    a few. Spikes do not enter the window, so that they hide no later one.
    """

    def __init__(self, factor: float | None, recent: Sequence[float] = (), spikes: int = 0) -> None:
        self._factor = factor
        self.recent = deque(recent, maxlen=WINDOW)
        self.spikes = spikes
        """Number of spikes since the last loss that was none."""

    @property
    def median(self) -> float:
        """The median of the window."""
        return statistics.median(self.recent)

    @property
    def limit(self) -> float:
        """The highest loss that is not a spike; infinite in the first steps, and if spikes are not watched for."""
        if self._factor is None or len(self.recent) < LEAST:
            return math.inf
        deviation = SCALE * statistics.median(abs(after - before) for before, after in pairwise(self.recent))
        return max(self.median + self._factor * deviation, max(self.recent) + LEAST_RISE)

    def add(self, loss: float) -> bool:
        """Take the loss of a step; returns whether it is a spike."""
        if loss > self.limit:
            self.spikes += 1
            return True
        self.spikes = 0
        self.recent.append(loss)
        return False


class Vitals(TrainerCallback):
    """Checks each step of a trainer before its gradient is applied, so that the weights are still those of the previous step.

    The Trainer shows callbacks neither losses nor batches, so three of its methods are wrapped. Weights that are not finite
    show in the next loss; they are looked at themselves where that happens, at the start, at the end, and before each
    checkpoint. A step costs the sum of its losses and one norm that is there already.
    """

    def __init__(self, trainer: Trainer, run: Run, checkpoint: Path | None) -> None:
        self._run, self._trainer = run, trainer
        known = json.loads((checkpoint / FILE).read_text(encoding="utf-8")) if checkpoint else {}
        self._losses = Losses(run.compute.loss_spike, **known)
        self._spikes: list[dict[str, str | int | float]] = []
        self._data: Any = None
        self._fetched: deque[list[int]] = deque()
        self._batch: list[tuple[list[int], Tensor]] = []  # positions and loss, a forward pass each
        self._last: list[tuple[list[int], Tensor]] = []
        self._high: list[tuple[list[int], Tensor]] = []  # the batches of the spikes since the last loss that was none
        if not hasattr(trainer.train_dataset, "__dict__"):  # for example a list, whose methods cannot be replaced
            trainer.train_dataset = _Rows(trainer.train_dataset)
        _wrap(trainer, "get_train_dataloader", self._around_loader)
        _wrap(trainer, "training_step", self._around_step)
        _wrap(trainer, "_get_grad_norm", self._around_norm)
        trainer.add_callback(self)

    def _around_loader(self, make: Callable[..., Any]) -> Any:
        """torch's loader calls the data set's ``__getitems__`` for each batch, in the order of the steps."""
        loader = make()
        self._data = data = loader.dataset
        fetch: Callable[[list[int]], list[Any]] = getattr(data, "__getitems__", None) or (
            lambda rows: [data[row] for row in rows]
        )

        def fetch_and_note(positions: list[int]) -> list[Any]:
            self._fetched.append(list(positions))
            return fetch(positions)

        data.__getitems__ = fetch_and_note
        return loader

    def _around_step(self, step: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        loss = step(*args, **kwargs)
        self._batch.append((self._fetched.popleft() if self._fetched else [], loss.detach()))
        return loss

    def _around_norm(self, norm_of: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        norm = norm_of(*args, **kwargs)
        loss = float(sum(part.item() for _, part in self._batch))
        if not math.isfinite(loss):
            self._refuse(f"the loss is {loss}")
        if not math.isfinite(norm):
            self._refuse(f"the gradient norm is {float(norm)}, with a loss of {loss:.4g}")
        self._judge(loss)
        return norm

    def _judge(self, loss: float) -> None:
        """Show a spike, and end training at the last of several in a row, before its gradient is applied."""
        step = self._trainer.state.global_step + 1
        if not self._losses.add(loss):
            self._high.clear()
            return
        self._high += self._batch
        held = f"the {len(self._losses.recent)} steps before have a median of {self._losses.median:.4g}"
        limit = f"{self._losses.limit:.4g} would still be let pass"
        if self._losses.spikes >= IN_A_ROW:
            what = f"the loss has shot up to {loss:.4g} and was as high in {IN_A_ROW} steps in a row, where {held} and {limit}"
            fix = "look at the rows, lower learning_rate, or allow it with a higher `loss_spike` in compute.yaml (null: any)"
            self._stop(step, what, self._high, fix)
        self._spikes += [{"step": step, "loss": loss, "limit": self._losses.limit, **row} for row in self._rows(self._batch)]
        self._run.table("loss-spikes", "Steps whose loss shot up, and their batches", self._spikes)
        warnings.warn(f"step {step}: the loss has shot up to {loss:.4g}, where {held} and {limit}", stacklevel=2)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: nn.Module | None = None, **_: object
    ) -> None:
        """Refuse to start from weights that are not finite."""
        if bad := first_not_finite(model):
            fix = "retrain the model it starts from with a lower learning_rate"
            self._stop(state.global_step + 1, f"the weights are not finite before it, in {bad}", [], fix)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: nn.Module | None = None, **_: object
    ) -> None:
        """Refuse to save weights that are not finite."""
        if (control.should_save or control.should_training_stop) and (bad := first_not_finite(model)):
            self._stop(state.global_step, f"the weights are not finite after it, in {bad}", self._batch, _LOWER)
        self._last, self._batch = self._batch, []

    def save(self, checkpoint: Path) -> None:
        """Add what a resumed run needs to a checkpoint."""
        known = {"recent": list(self._losses.recent), "spikes": self._losses.spikes}
        (checkpoint / FILE).write_text(json.dumps(known), encoding="utf-8")

    def _refuse(self, what: str) -> NoReturn:
        before = self._trainer.state.global_step
        if bad := first_not_finite(self._trainer.model):  # the previous step corrupted them
            self._stop(before, f"the weights are not finite after it, in {bad}; in the next step {what}", self._last, _LOWER)
        self._stop(before + 1, what, self._batch, _LOWER)

    def _stop(self, step: int, what: str, batch: Sequence[tuple[list[int], Tensor]], fix: str) -> NoReturn:
        rows = list(self._rows(batch))
        if rows:
            self._run.table("last-batch", f"What training was ended for at step {step}", rows)
        newest = look(self._run.checkpoints).newest
        kept = f"{newest.name} in {newest.parent} is kept, its weights are finite" if newest else "there was no checkpoint yet"
        raise TrainingError(
            f"training was ended at step {step}: {what}",
            f"stage {self._run.stage}, step {step}{_named(rows)}",
            f"{fix}; {kept}",
        )

    def _rows(self, batch: Sequence[tuple[list[int], Tensor]]) -> Iterator[dict[str, str | int | float]]:
        """Each position of a batch once, with its ids and the loss of its forward pass."""
        seen: set[int] = set()
        for positions, loss in batch:
            for position in positions:
                if position not in seen:
                    seen.add(position)
                    for identity in ids_at(self._data, position):
                        yield {"row": position, "id": identity, "loss of the forward pass": loss.item()}


_LOWER = "lower learning_rate or max_gradient_norm, or raise warmup_steps, in params.yaml; look at the rows"


def ids_at(data: Any, position: int) -> Sequence[str]:
    """Ids of the item at a position of a training set: what the set itself says, or its column ``id``; else its row number."""
    if isinstance(data, Sourced):
        return data.ids_at(position)
    row = data[position]
    return [str(row["id"])] if "id" in row else [f"row {position}"]


def first_not_finite(model: nn.Module | None) -> str:
    """Name of the first trained tensor with a NaN or an infinity; empty if there is none."""
    if model is None:
        return ""
    trained = {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}
    if math.isfinite(torch.nn.utils.get_total_norm(trained.values()).item()):
        return ""
    # The norm may also have overflowed.
    return next((f"{name} {tuple(weight.shape)}" for name, weight in trained.items() if not weight.isfinite().all()), "")


def _named(rows: Sequence[dict[str, str | int | float]]) -> str:
    if not rows:
        return ""
    names = list(dict.fromkeys(str(row["id"]) for row in rows))
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f", batch: {', '.join(names[:SHOWN])}{more}"


def _wrap(trainer: Trainer, name: str, around: Callable[..., Any]) -> None:
    method = getattr(trainer, name)
    setattr(trainer, name, lambda *args, **kwargs: around(method, *args, **kwargs))
