"""A sample session in real journals, and its delivery to a tracker as the watcher does it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from workbench import events
from workbench.errors import PluginError
from workbench.events import AnyEvent
from workbench.kinds.tracker import Tracker
from workbench.run import Chart, Generation
from workbench.tracking.feed import CLOSED, OPENED, Feed, observed
from workbench.tracking.journal import Journal, encode, read_events
from workbench.tracking.session import STATE_FILE, folder_of

SESSION = "4242-sample"
RUNS = ("r-pretrain", "r-eval", "r-sft")
MODEL = "data/models/base"
BEGAN = 1_700_000_000.0
"""Seconds since the epoch."""
_DIGEST = "0123456789abcdef0123456789abcdef.dir"


def write_session(workspace: Path) -> None:
    """Journals of a session in which a model is trained and evaluated, a third stage is killed, and a fourth is restored.

    Events of types that do not occur in that story are added to the evaluation, each with minimal content.
    The model itself must be at :data:`MODEL` below the workspace.
    """
    folder = folder_of(workspace, SESSION)
    (workspace / "params.yaml").write_text("pretrain: {use: sample}\n", encoding="utf-8")
    files = {"params.yaml": str(workspace / "params.yaml")}
    stages = ["curate@corpus", "pretrain", "eval-choice@base", "sft"]
    started = events.SessionStarted(
        SESSION, BEGAN, str(workspace), "", dirty=False, command="dvc repro", stages=stages, files=files
    )
    _pretrain(workspace)
    _evaluate(workspace)
    _die(workspace)
    _append(folder / OPENED, started)
    restored = events.StageRestored(SESSION, "curate@corpus", "f-corpus", {"data/corpus": _DIGEST})
    _append(folder / CLOSED, restored, events.SessionFinished(SESSION, BEGAN + 99, "KILLED"))
    _append(observed(folder / f"{RUNS[1]}.jsonl"), *map(_least, _missing(folder)))


def deliver(tracker: Tracker[Any], workspace: Path) -> None:
    """Send the whole session from its beginning.

    Raises:
        PluginError: the tracker failed on an event.
    """
    folder = folder_of(workspace, SESSION)
    (folder / STATE_FILE).unlink(missing_ok=True)
    complaints = _Complaints()
    logging.getLogger("workbench.tracking.feed").addHandler(complaints)
    feed = Feed(workspace, folder, tracker)
    delivered = feed.deliver([folder / f"{run}.jsonl" for run in RUNS])
    feed.close()
    if complaints.lines or not delivered or not feed.is_done():
        said = "\n".join(complaints.lines) or "the session was not delivered to its end"
        raise PluginError(said, f"tracker {tracker.name!r}", "take every event of TrackerHooks that a hook is implemented for")


class _Complaints(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(logging.Formatter().format(record))


def _pretrain(workspace: Path) -> None:
    journal = _start(workspace, RUNS[0], "pretrain", "pretrain", BEGAN + 1)
    for step in range(1, 13):
        journal.metrics({"loss": 5.0 / step, "grad_norm": float("nan") if step == 3 else 1.0}, step)
    journal.write(events.AlertRaised(RUNS[0], BEGAN + 3, "not-finite", "grad_norm is <nan> at step 3"))
    journal.table(
        "examples", "Examples <b>", [{"text": "<script>café</script>", "value": 1.5}, {"text": "=sum(A1)", "value": None}]
    )
    journal.chart(
        Chart("loss", "Loss", "step", "nats", [1, 2, 3], {"train": [3.0, 2.0, 1.0], "heldout": [3.0, float("nan"), 2.0]})
    )
    journal.chart(Chart("sizes", "Documents", "source", "documents", ["harbour", "school"], {"kept": [3.0, 2.0]}))
    journal.text("note", "# A note\n\nWith *emphasis*.")
    model = events.Artifact("out", MODEL, "model", "", None, 1000)
    journal.write(events.ArtifactCommitted(RUNS[0], BEGAN + 5, model))
    _finish(journal, {"loss": 0.4}, BEGAN + 6)
    _append(observed(journal.path), events.OutputsHashed(RUNS[0], BEGAN + 7, {MODEL: _DIGEST}))


def _evaluate(workspace: Path) -> None:
    journal = _start(workspace, RUNS[1], "eval-choice@base", "eval", BEGAN + 10)
    journal.generation(Generation("Say <hi>", "hi", 1, 0.25, 1.0))
    journal.generation(Generation("Say ho", "ho", 1, 0.25))
    journal.metrics({"accuracy": 0.5}, None)
    columns = {"id": "string", "score": "double"}
    result = events.Artifact("out", "data/eval/choice-base", "evaluation", "", 40, 500, columns)
    journal.write(events.ArtifactCommitted(RUNS[1], BEGAN + 11, result))
    _finish(journal, {"accuracy": 0.5, "broken": float("inf")}, BEGAN + 12)
    _append(observed(journal.path), events.OutputsHashed(RUNS[1], BEGAN + 13, {"data/eval/choice-base": _DIGEST}))


def _die(workspace: Path) -> None:
    journal = _start(workspace, RUNS[2], "sft", "sft", BEGAN + 20)
    journal.metrics({"loss": 2.0}, 1)
    journal.close()
    _append(observed(journal.path), events.StageFailed(RUNS[2], BEGAN + 30, "KILLED", "killed by signal 9"))


def _start(workspace: Path, run: str, stage: str, kind: str, time: float) -> Journal:
    journal = Journal.create(workspace, SESSION, run)
    inputs = [events.Artifact("corpus", "data/corpus", "corpus", _DIGEST, 48, 10_000, {"id": "string", "text": "string"})]
    journal.write(
        events.StageStarted(
            run=run,
            time=time,
            session=SESSION,
            stage=stage,
            entry=stage.replace("@", "."),
            kind=kind,
            plugin="sample",
            seed=3,
            pid=4242,
            process_started=BEGAN,
            config={"learning_rate": 0.1, "architecture": {"layers": 2}},
            lock={"use": "sample", "config": {"learning_rate": 0.1}, "seed": 3, "plugins": {f"{kind} sample": "0" * 16}},
            inputs=inputs,
            fingerprint=f"f-{stage}",
            machine={"processor": "any", "threads": 1},
            command=f"python -m workbench run {stage}",
            directory=str(workspace),
        )
    )
    return journal


def _finish(journal: Journal, metrics: dict[str, float], time: float) -> None:
    journal.write(events.StageFinished(journal.run, time, metrics, 1.5, 10**9))
    journal.close()


def _missing(folder: Path) -> list[type[AnyEvent]]:
    written = {type(event) for file in folder.glob("*.jsonl") for event in read_events(file, 0)[0]}
    return [kind for kind in get_args(events.AnyEvent) if kind not in written]


def _least(kind: type[Any]) -> Any:
    """A minimal record: fields hold their defaults, or else the first or the empty value of their types."""
    known: dict[str, object] = {"session": SESSION, "run": RUNS[1], "time": BEGAN + 14}
    types = get_type_hints(kind)
    needed = [field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING]
    return kind(**{name: known[name] if name in known else _empty(types[name]) for name in needed})


def _empty(kind: Any) -> object:
    if is_dataclass(kind):
        return _least(kind)  # type: ignore[arg-type]
    if get_origin(kind) is Literal:
        return get_args(kind)[0]
    return (get_origin(kind) or kind)()


def _append(file: Path, *found: AnyEvent) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as stream:
        stream.writelines(_lines(found))


def _lines(found: Sequence[AnyEvent]) -> list[bytes]:
    return [encode(event) for event in found]
