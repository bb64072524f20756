"""A filter for tests."""

from workbench import hookimpl
from workbench.kinds.filter import Filter
from workbench.plugin import Config


class ShortConfig(Config):
    """Configuration."""

    limit: int = 10
    """Greatest length, characters."""


class Short(Filter[ShortConfig]):
    """Keeps short documents."""

    name = "short"
    Config = ShortConfig

    def reject(self, document):
        """Reject what is long."""
        return "long" if len(document.text) > self.config.limit else None


@hookimpl
def workbench_plugins():
    """Offer the filter."""
    return [Short]
