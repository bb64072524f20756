"""A source for tests."""

import time
from pathlib import Path

from workbench import hookimpl
from workbench.artifacts import digests
from workbench.artifacts.corpus import Document
from workbench.estimate import Estimate
from workbench.kinds.source import Source
from workbench.plugin import Config


class LinesConfig(Config):
    """Configuration."""

    file: str = "raw/corpus.txt"
    """Where the lines are."""
    upper: bool = False
    """Whether to write them in capitals."""
    pause: float = 0.0
    """Seconds that each takes."""


class Lines(Source[LinesConfig]):
    """A document per line of a file."""

    name = "lines"
    Config = LinesConfig
    produces = "corpus"

    def external_inputs(self):
        """The file."""
        return {self.config.file: digests.of(Path(self.config.file))}

    def estimate(self, inputs):
        """A unit of work per line."""
        return Estimate(len(Path(self.config.file).read_text().splitlines()), "documents", memory=1e6)

    def records(self, run):
        """Yield a document per line."""
        for number, line in enumerate(Path(self.config.file).read_text().splitlines()):
            time.sleep(self.config.pause)
            yield Document(line.upper() if self.config.upper else line, "lines", {"origin": str(number)})


@hookimpl
def workbench_plugins():
    """Offer the source."""
    return [Lines]
