"""A dedup stage for tests, which runs a test's code in the midst of its work."""

from pathlib import Path

from pydantic import Field

from workbench import hookimpl
from workbench.artifacts import corpus, table
from workbench.kinds.dedup import DedupConfig, DedupStage

FAULT = Path("fault.py")
"""File, in the workspace, of the code that is run where a test has put it; it knows ``inputs``, ``outputs`` and ``run``."""
COLUMNS = {"id": "string", "kept": "bool"}


class LightConfig(DedupConfig):
    """Configuration."""

    words: int = Field(2, ge=1)
    """Documents that begin with the same words are duplicates."""


class Light(DedupStage[LightConfig]):
    """Keeps the first document of those that begin with the same words."""

    name = "light"
    Config = LightConfig

    def find_duplicates(self, corpus, run):
        """Not called: the whole stage is light."""
        raise NotImplementedError

    def execute(self, inputs, outputs, run):
        """Write the firsts; the last of them is held out."""
        rows = list(table.read_rows(inputs["corpus"]))
        firsts = {}
        for row in rows:
            firsts.setdefault(tuple(row["text"].split()[: self.config.words]), row)
        kept = list(firsts.values())
        columns = corpus.schema(["origin"])
        table.write_rows(outputs["train"], kept[:-1], columns)
        table.write_rows(outputs["heldout"], kept[-1:], columns)
        table.write_rows(outputs["decisions"], [{"id": row["id"], "kept": row in kept} for row in rows], COLUMNS)
        if FAULT.exists():
            exec(compile(FAULT.read_text(), str(FAULT), "exec"), {"inputs": inputs, "outputs": outputs, "run": run})
        run.metric("kept", len(kept))


@hookimpl
def workbench_plugins():
    """Offer the stage."""
    return [Light]
