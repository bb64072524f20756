"""Alerts while a stage runs: each raised once, as an event for the trackers and a line on the console."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from workbench import events
from workbench.errors import TrainingError
from workbench.run import Value

if TYPE_CHECKING:
    from workbench.lib.console import Console
    from workbench.tracking.journal import Journal

LATE_FACTOR = 1.5
"""A stage is late if it will take more than this factor times the prediction of the newest plan,"""
LATE_SECONDS = 60.0
"""and exceed the prediction by more than this."""
SETTLED_SECONDS = 5.0
"""Before that, a stage's pace says little about the rest."""


class Alerts:
    """The alerts of one run, raised from inside its process; only its guard can see that it makes no progress.

    Args:
        predicted: seconds predicted by the newest plan; None if it predicted none.
    """

    def __init__(self, journal: Journal, console: Console, predicted: float | None) -> None:
        self._journal, self._console, self._predicted = journal, console, predicted
        self._started = time.monotonic()
        self._label, self._label_started = "", self._started
        self._raised: set[str] = set()

    def metrics(self, values: Mapping[str, Value], step: int | None) -> None:
        """Raise ``not-finite`` for the first NaN or infinity of each metric."""
        for name, value in values.items():
            if not math.isfinite(value):
                where = "" if step is None else f" at step {step}"
                self._raise("not-finite", f"{name} is {float(value)}{where}", once=name)

    def progress(self, done: float, total: float | None, label: str) -> None:
        """Raise ``late`` if the work, at its current pace, will take far longer than predicted."""
        now = time.monotonic()
        if label != self._label:
            self._label, self._label_started = label, now
        if self._predicted is None or now - self._started < SETTLED_SECONDS:
            return
        rest = (now - self._label_started) * (total - done) / done if total and done else 0.0
        expected = now - self._started + rest
        if expected > max(LATE_FACTOR * self._predicted, self._predicted + LATE_SECONDS):
            what = f"it will take {expected:,.0f} s at this pace; `workbench plan` predicted {self._predicted:,.0f} s"
            self._raise("late", what, once="late")

    def warned(self, message: str) -> None:
        """Raise ``warning`` for what a plugin warns of."""
        self._raise("warning", message, once=f"warning: {message}")

    def ended(self, error: BaseException) -> None:
        """Raise ``training`` if training was ended because of its loss or weights; the console shows the error itself."""
        if isinstance(error, TrainingError):
            self._journal.write(events.AlertRaised(self._journal.run, time.time(), "training", error.what))

    def _raise(self, name: events.Alert, message: str, once: str) -> None:
        if once not in self._raised:
            self._raised.add(once)
            self._console.say(f"alert: {name}: {message}")
            self._journal.write(events.AlertRaised(self._journal.run, time.time(), name, message))
