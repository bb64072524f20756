"""A stage's terminal output: a progress bar with an ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

SECONDS_BETWEEN_LINES = 10.0


class Console:
    """Shows the progress of one stage; a context manager."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._bar: Progress | None = None
        self._task: Any = None
        self._label = ""
        self._started = self._last = time.monotonic()

    def __enter__(self) -> Console:
        if sys.stderr.isatty():
            from rich.console import Console as RichConsole
            from rich.progress import Progress

            self._bar = Progress(console=RichConsole(stderr=True), transient=True)
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """Print one line."""
        sys.stderr.write(f"{self._stage}: {text}\n")
        sys.stderr.flush()

    def progress(self, done: float, total: float | None, unit: str, label: str) -> None:
        """Show progress: at most ten times a second, or one plain line every ten seconds."""
        now = time.monotonic()
        pause = 0.1 if self._bar is not None else SECONDS_BETWEEN_LINES
        if label == self._label and now - self._last < pause:
            return
        if label != self._label:
            self._label, self._started = label, now
        if self._bar is not None:
            self._show_bar(done, total, unit)
        elif now - self._last >= pause:
            self.say(_line(done, total, unit, label, now - self._started))
        else:
            return
        self._last = now

    def _show_bar(self, done: float, total: float | None, unit: str) -> None:
        assert self._bar is not None
        description = f"{self._stage} {self._label} {done:,.0f} {unit}"
        if self._task is None:
            self._task = self._bar.add_task(description, total=total)
        self._bar.update(self._task, completed=done, total=total, description=description)


def _line(done: float, total: float | None, unit: str, label: str, seconds: float) -> str:
    text = f"{label} {done:,.0f}".strip()
    if not total:
        return f"{text} {unit}"
    rest = seconds * (total - done) / done if done else 0.0
    return f"{text} of {total:,.0f} {unit} ({done / total:.0%}), {rest:.0f} s left"
