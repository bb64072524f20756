"""A tracker for tests, which leaves a file where it is imported."""

from pathlib import Path

from workbench import hookimpl
from workbench.kinds.tracker import Tracker
from workbench.plugin import Config

Path("imported").touch()


class Nothing(Tracker[Config]):
    """Takes nothing."""

    name = "nothing"
    Config = Config


@hookimpl
def workbench_plugins():
    return [Nothing]
