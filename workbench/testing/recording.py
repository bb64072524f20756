"""A run for tests that records what a plugin reports to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workbench.run import Cell, Chart, Compute, Generation, Run, Value

ONE_THREAD = Compute("cpu", 1, "fp32")


@dataclass
class Recorder:
    """Listener that keeps everything."""

    metrics_seen: list[tuple[int | None, dict[str, Value]]] = field(default_factory=list)
    """Step, None if the numbers are of the whole stage, and numbers by name."""
    tables: dict[str, list[Mapping[str, Cell]]] = field(default_factory=dict)
    charts: dict[str, Chart] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    generations: list[Generation] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    beats: list[tuple[float, float | None, str, str]] = field(default_factory=list)
    """The reports of progress: done, total, unit and label."""

    def metrics(self, values: Mapping[str, Value], step: int | None) -> None:
        """Keep numbers."""
        self.metrics_seen.append((step, dict(values)))

    def table(self, name: str, title: str, rows: Sequence[Mapping[str, Cell]]) -> None:
        """Keep a table; the last of a name counts."""
        self.tables[name] = list(rows)

    def chart(self, chart: Chart) -> None:
        """Keep a picture; the last of a name counts."""
        self.charts[chart.name] = chart

    def text(self, name: str, markdown: str) -> None:
        """Keep a text; the last of a name counts."""
        self.texts[name] = markdown

    def generation(self, generation: Generation) -> None:
        """Keep a generated text."""
        self.generations.append(generation)

    def warning(self, message: str) -> None:
        """Keep a warning."""
        self.warnings.append(message)

    def progress(self, done: float, total: float | None, unit: str, label: str) -> None:
        """Keep a sign of progress."""
        self.beats.append((done, total, unit, label))


@dataclass
class RecordedRun(Run):
    """A run whose ``listener`` remembers."""

    listener: Recorder


def make_run(folder: Path, seed: int = 0, *, stage: str = "test", compute: Compute = ONE_THREAD) -> RecordedRun:
    """A run for a test of a plugin::

        run = make_run(tmp_path)
        stage.execute(inputs, outputs, run)
        assert run.summary["kept"] == 3
        assert run.listener.tables["funnel"][0]["documents"] == 5

    Args:
        folder: where its ``scratch`` and ``checkpoints`` are; a second run on the same folder resumes from these checkpoints.
        seed: the seed of every random choice.
        stage: the stage's address.
        compute: device, threads and precision.
    """
    scratch, checkpoints = folder / "scratch", folder / "checkpoints"
    scratch.mkdir(parents=True, exist_ok=True)
    checkpoints.mkdir(exist_ok=True)
    return RecordedRun(stage, seed, compute, scratch, checkpoints, Recorder())
