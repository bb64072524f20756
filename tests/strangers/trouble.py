"""A source for tests that does what it is told."""

import time
from pathlib import Path
from typing import Literal

from workbench import hookimpl
from workbench.artifacts.corpus import Document
from workbench.kinds.source import Source
from workbench.plugin import Config


class TroubleConfig(Config):
    """Configuration."""

    trouble: Literal["none", "raise", "schema", "nothing", "big", "kill"] = "none"
    """What happens."""
    documents: int = 3
    """How many documents."""


class Trouble(Source[TroubleConfig]):
    """Makes trouble."""

    name = "trouble"
    Config = TroubleConfig
    produces = "corpus"

    def execute(self, inputs, outputs, run):
        """Write what is asked for."""

        from workbench.artifacts import table

        super().execute(inputs, outputs, run)
        if self.config.trouble == "schema":
            (outputs["out"] / "part-00000.parquet").unlink()
            table.write_rows(outputs["out"], [{"id": "a", "txt": "b"}], {"id": "string", "txt": "string"})
        elif self.config.trouble == "big":
            (outputs["out"] / "part-00001.parquet").write_bytes(b"0" * (64 << 20))

    def records(self, run):
        """Yield documents, or do something worse."""
        if self.config.trouble == "nothing":
            return
        for number in range(self.config.documents):
            yield Document(f"Document number {number} of the test.", "test", {"origin": str(number)})
            while number == 1 and Path("hold").exists():
                Path("held").touch()
                time.sleep(0.05)
        if self.config.trouble == "raise":
            raise RuntimeError("the plugin is at its wits' end")


@hookimpl
def workbench_plugins():
    """Offer the source."""
    return [Trouble]
