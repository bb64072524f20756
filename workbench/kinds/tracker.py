"""Kind ``tracker``: receives lifecycle events; the hooks are those of :class:`workbench.hookspecs.TrackerHooks`."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from workbench.plugin import C, Plugin


class Tracker(Plugin[C]):
    """Records what happens in some store. A subclass implements the hooks it wants, marked with ``hookimpl``.

    Trackers live in the watcher's process and in commands, never in a stage's, and decide nothing about results. The watcher may
    replay events after a crash: a tracker must take an event that it has seen before without recording it twice.
    """

    kind: ClassVar[str] = "tracker"
    on_by_default: ClassVar[bool] = False
    """Whether it receives runs if compute.yaml has no key ``trackers``."""
    store_variable: ClassVar[str] = ""
    """Environment variable that sets the address of its store, for the advice in errors; empty if there is none."""

    def open(self, workspace: Path) -> None:
        """Connect to the store; ``workspace`` is the directory of the main workspace."""

    def check_store(self, workspace: Path) -> str:
        """Describe the store in a few words, for ``workbench doctor``; empty if unknown.

        Called on a tracker that was not opened. It must be quick, import nothing heavy, and change nothing.

        Raises:
            ConnectionError: the store would accept no run; the message says why.
            WorkbenchError: something is wrong with the store that its fix mends.
        """
        return ""

    def ui_command(self, workspace: Path, port: int) -> list[str]:
        """The command that serves the store's user interface on the loopback interface; empty if there is none."""
        return []

    def ui_address(self, workspace: Path, port: int) -> str:
        """The address of the runs once :meth:`ui_command` serves them, or where others serve them; empty if nowhere."""
        return ""

    def close(self) -> None:
        """Write what is pending and disconnect."""
