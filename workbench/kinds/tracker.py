"""Kind ``tracker``: receives lifecycle events; the hooks are those of :class:`workbench.hookspecs.TrackerHooks`."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from workbench.plugin import C, Plugin


class Tracker(Plugin[C]):
    """Records what happens in some store. A subclass implements the hooks it wants, marked with ``hookimpl``.

    Trackers live in the watcher's process, never in a stage's, and decide nothing about results. The watcher may
    replay events after a crash: a tracker must take an event that it has seen before without recording it twice.
    """

    kind: ClassVar[str] = "tracker"

    def open(self, workspace: Path) -> None:
        """Connect to the store; ``workspace`` is the directory of the main workspace."""

    def ui_command(self, workspace: Path, port: int) -> list[str]:
        """The command that serves the store's user interface on the loopback interface; empty where it has none."""
        return []

    def ui_address(self, workspace: Path, port: int) -> str:
        """Where a browser finds the runs once that command serves, or where others serve them; empty where nobody does."""
        return ""

    def close(self) -> None:
        """Write what is pending and disconnect."""
