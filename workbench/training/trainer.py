"""Shared by every training plugin built on transformers' Trainer: settings, log, checkpoints, and monitoring of its numbers.

Importing this module imports torch and transformers; plugins import it inside their domain method.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.utils.logging import disable_progress_bar

from workbench.errors import ParamsError
from workbench.kinds.training import write_training_log
from workbench.training.checkpoints import drop_newer, keep_newest, newest_complete, seal
from workbench.training.vitals import FILE, Vitals
from workbench.training.weights import load_all

if TYPE_CHECKING:
    from datasets import Dataset

    from workbench.run import Run

RATES = {"epoch", "num_tokens", "total_flos", "step_time"}
"""Logged numbers that are not results; ``num_tokens`` counts from zero in a resumed run."""
MEBIBYTE = 1 << 20
STATE_FILE = "trainer_state.json"
NEEDED = (STATE_FILE, "*.safetensors", "optimizer.pt", "scheduler.pt", "rng_state*.pth", FILE)
"""Files whose absence the Trainer would ignore when resuming, starting their state afresh."""
KEPT = 2
"""Number of checkpoints: the newest, and the one before in case the newest is damaged."""


def common_arguments(run: Run, *, steps: int, logging_steps: int, save_steps: int) -> dict[str, Any]:
    """The settings common to every Trainer of the workbench, for its arguments class.

    Raises:
        ParamsError: a checkpoint would fall between two rows of the log, whose mean a resumed run could not complete.
    """
    if save_steps % logging_steps:
        raise ParamsError(
            f"save_steps {save_steps} is not a multiple of logging_steps {logging_steps}",
            f"params.yaml, stage {run.stage}, key save_steps",
            f"use {save_steps - save_steps % logging_steps or logging_steps}",
        )
    return {
        "output_dir": str(run.checkpoints),
        "max_steps": steps,
        "seed": run.seed,
        "data_seed": run.seed,
        "use_cpu": run.compute.device == "cpu",
        "bf16": run.compute.precision == "bf16",
        "logging_steps": logging_steps,
        "logging_nan_inf_filter": False,  # it would log a NaN loss as 0.0
        "save_strategy": "steps",
        "save_steps": save_steps,
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": run.compute.device == "cuda",
        "remove_unused_columns": False,
    }


def require_window(model: PreTrainedModel, max_length: int, run: Run) -> None:
    """Refuse to train on texts longer than the model's window: evaluations would truncate them, and learnt positions end there.

    Raises:
        ParamsError: they are longer.
    """
    window = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if window and max_length > window:
        what = f"max_length is {max_length}, and the model's window has {window} tokens"
        fix = f"lower max_length to {window}, or pretrain with a longer context"
        raise ParamsError(what, f"params.yaml, stage {run.stage}, key max_length", fix)


def set_up_torch(run: Run) -> None:
    """Set threads, seed and deterministic kernels, and disable libraries' progress bars; called before the model is created."""
    disable_progress_bar()
    torch.set_num_threads(run.compute.threads)
    torch.manual_seed(run.seed)
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    # It would also fill each new tensor with NaN, to expose reads of uninitialised memory: 5 % of pretraining's time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # the stubs lack it


def in_memory(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Dataset:
    """The given columns of the rows, and their ``id``, as a dataset that leaves nothing on disk.

    A cache that was made with another tokenizer would go unnoticed.
    """
    import datasets

    datasets.disable_caching()
    datasets.disable_progress_bars()
    return datasets.Dataset.from_list([{name: row[name] for name in ("id", *columns) if name in row} for row in rows])


def train(trainer: Trainer, run: Run) -> None:
    """Train to the last step, from the newest complete checkpoint if a killed run left one.

    Args:
        trainer: as its constructor has left it, a :class:`Reporter` among its callbacks. Errors name rows by
            the data set's column ``id``, or by its ``ids_at`` (:class:`workbench.training.vitals.Sourced`).
        run: the stage's.

    Raises:
        TrainingError: the loss, a gradient or a weight is not finite, the loss spiked, or the checkpoint lacks weights.
    """
    trainer.remove_callback(PrinterCallback)  # the run reports everything
    load_all(trainer)
    checkpoint = newest_complete(run.checkpoints, NEEDED)
    drop_newer(run.checkpoints, checkpoint)
    if checkpoint and _read_state(checkpoint).global_step >= trainer.args.max_steps:
        _take(trainer, checkpoint)  # the Trainer would train one step more
        return
    trainer.add_callback(Sealer(Vitals(trainer, run, checkpoint)))
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


def _read_state(checkpoint: Path) -> TrainerState:
    return TrainerState.load_from_json(str(checkpoint / STATE_FILE))


def _take(trainer: Trainer, checkpoint: Path) -> None:
    """Restore a trainer to its state after it wrote its last checkpoint."""
    trainer.state = _read_state(checkpoint)
    trainer._load_from_checkpoint(str(checkpoint))  # noqa: SLF001 - there is no public way that trains no step
    trainer._load_rng_state(str(checkpoint))  # noqa: SLF001


def save(trainer: Trainer, tokenizer: PreTrainedTokenizerBase, out: Path, tokens_per_step: int | None = None) -> None:
    """Save model, tokenizer and training log as a Hugging Face directory."""
    model = trainer.model
    assert isinstance(model, PreTrainedModel)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    write_training_log(out, training_rows(trainer.state, tokens_per_step))


def training_rows(state: TrainerState, tokens_per_step: int | None) -> list[dict[str, float]]:
    """The rows of the training log, from the Trainer's log; complete in a resumed run too."""
    rows = []
    for logged in state.log_history:
        if "loss" not in logged:
            continue
        row: dict[str, float] = {"step": logged["step"]}
        if tokens_per_step is not None:
            row["tokens"] = logged["step"] * tokens_per_step
        # Sorted, since a log read back from a checkpoint has its keys in another order than a fresh one.
        row.update({name: float(logged[name]) for name in sorted(set(logged) - RATES - {"step"}) if logged[name] is not None})
        rows.append(row)
    return rows


class Reporter(TrainerCallback):
    """Reports progress and the numbers of each logged step to a run."""

    def __init__(self, run: Run, label: str, tokens_per_step: int | None = None) -> None:
        self._run, self._label, self._tokens_per_step = run, label, tokens_per_step
        self._clock = time.monotonic()
        self._step = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Start the clock where training starts, possibly at a checkpoint."""
        self._clock, self._step = time.monotonic(), state.global_step

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Report progress."""
        self._run.progress(state.global_step, state.max_steps, "steps", self._label)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: object,
    ) -> None:
        """Pass on the logged numbers, with throughput and memory, which vary from run to run."""
        # None stands for a number that the step did not have, such as a reward that scored no answer.
        values = {name: float(value) for name, value in (logs or {}).items() if name not in RATES and value is not None}
        if "loss" not in values:
            return
        seconds, steps = time.monotonic() - self._clock, state.global_step - self._step
        self._clock, self._step = time.monotonic(), state.global_step
        if self._tokens_per_step:
            values["tokens"] = state.global_step * self._tokens_per_step
            values["tokens_per_second"] = steps * self._tokens_per_step / seconds
        values["steps_per_second"] = steps / seconds
        values["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEBIBYTE
        self._run.log(values, state.global_step)


class Sealer(TrainerCallback):
    """Makes a checkpoint resumable, and only then removes older ones."""

    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Complete the checkpoint and write its manifest."""
        folder = Path(args.output_dir)
        checkpoint = folder / f"checkpoint-{state.global_step}"
        self._vitals.save(checkpoint)
        seal(checkpoint)
        keep_newest(folder, KEPT)
