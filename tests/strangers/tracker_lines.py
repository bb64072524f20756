"""A tracker for tests, which writes a line for each event."""

import inspect
import os

from workbench import hookimpl
from workbench.hookspecs import TrackerHooks
from workbench.kinds.tracker import Tracker
from workbench.plugin import Config


class LinesConfig(Config):
    """None."""


class Lines(Tracker):
    """Writes a line for each event."""

    name = "lines"
    Config = LinesConfig

    def open(self, workspace):
        self.workspace = workspace

    def take(self, name, event):
        if (self.workspace / "down").exists():
            raise ConnectionError("down")
        if name in os.environ.get("BREAK", ""):
            raise ValueError("broken")
        with (self.workspace / "lines.txt").open("a") as file:
            print(name, getattr(event, "stage", ""), getattr(event, "status", getattr(event, "state", "")), file=file)
        return "line"

    @hookimpl
    def metrics_logged(self, events):
        self.take("metrics_logged", len(events))


QUIET = ("alert_raised", "artifact_logged")


def hook(name):
    def method(self, event):
        return self.take(name, event)

    return method


for name, specification in vars(TrackerHooks).items():
    if not name.startswith("_") and "event" in inspect.signature(specification).parameters and name not in QUIET:
        setattr(Lines, name, hookimpl(hook(name)))


@hookimpl
def workbench_plugins():
    return [Lines]
