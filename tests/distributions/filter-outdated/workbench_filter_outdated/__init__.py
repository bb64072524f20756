"""Filter ``outdated``: it asks the core for a class that is not there."""

from workbench import hookimpl
from workbench.kinds.filter import LineFilter  # type: ignore[attr-defined]


class Outdated(LineFilter):
    """Keeps lines."""

    name = "outdated"


@hookimpl
def workbench_plugins():
    """Offer the plugin."""
    return [Outdated]
