"""A run for tests that remembers what a stage tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workbench.run import Cell, Chart, Compute, Generation, Run, Value


@dataclass
class Recorder:
    """Listener that keeps everything."""

    metrics_seen: list[tuple[int | None, dict[str, Value]]] = field(default_factory=list)
    tables: dict[str, list[Mapping[str, Cell]]] = field(default_factory=dict)
    charts: dict[str, Chart] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    generations: list[Generation] = field(default_factory=list)

    def metrics(self, values: Mapping[str, Value], step: int | None) -> None:
        self.metrics_seen.append((step, dict(values)))

    def table(self, name: str, title: str, rows: Sequence[Mapping[str, Cell]]) -> None:
        self.tables[name] = list(rows)

    def chart(self, chart: Chart) -> None:
        self.charts[chart.name] = chart

    def text(self, name: str, markdown: str) -> None:
        self.texts[name] = markdown

    def generation(self, generation: Generation) -> None:
        self.generations.append(generation)

    def progress(self, done: float, total: float | None, unit: str, label: str) -> None:
        pass


def make_run(tmp_path: Path, seed: int = 0) -> tuple[Run, Recorder]:
    """A CPU run with one thread whose scratch and checkpoints are below ``tmp_path``."""
    recorder = Recorder()
    scratch, checkpoints = tmp_path / "scratch", tmp_path / "checkpoints"
    scratch.mkdir(exist_ok=True)
    checkpoints.mkdir(exist_ok=True)
    run = Run("test", seed, Compute("cpu", 1, "fp32"), scratch, checkpoints, recorder)
    return run, recorder
