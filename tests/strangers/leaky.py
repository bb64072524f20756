"""A source that tells all it knows."""

import os

from workbench import hookimpl
from workbench.artifacts.corpus import Document
from workbench.kinds.source import Source
from workbench.plugin import Config
from workbench.run import Chart, Generation


class LeakyConfig(Config):
    """Configuration."""

    api_key: str = ""
    """A secret."""
    end_token: str = "<|end|>"
    """No secret."""
    url: str = ""
    """Where it would read from."""
    fail: bool = False
    """Whether to end with an error."""


class Leaky(Source[LeakyConfig]):
    """Repeats its secrets in everything that it tells."""

    name = "leaky"
    Config = LeakyConfig
    produces = "corpus"

    def records(self, run):
        """Yield harmless documents."""
        variables = [os.environ[name] for name in sorted(os.environ) if "CANARY" in name]
        told = " ".join([self.config.api_key, self.config.url, *variables])
        run.text("notes", f"# Notes\n\n{told}, max_tokens: 2007040, pad_token: <|pad|>")
        run.table("rows", "Rows", [{"text": told, "token": "string", "score": 1.0}])
        run.chart(Chart("chart", told, "x", "y", [told, "b"], {told: [1.0, 2.0]}))
        run.generation(Generation("Say it", told, 3, 0.1))
        if self.config.fail:
            raise RuntimeError(f"refused {told}, password=canary-exception-1")
        for line in ("one line of text", "another line"):
            yield Document(line, "leaky", {"origin": line})


@hookimpl
def workbench_plugins():
    """Offer the source."""
    return [Leaky]
