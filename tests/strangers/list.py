"""A report for tests."""

from workbench import hookimpl
from workbench.kinds.report import ReportStage
from workbench.plugin import Config


class ListConfig(Config):
    """Configuration."""

    title: str = "Results"
    """First line."""


class List(ReportStage[ListConfig]):
    """Lists the evaluations."""

    name = "list"
    Config = ListConfig
    optional = frozenset({"models"})

    def write(self, results, out, run):
        """Not called: the stage reads no models."""
        raise NotImplementedError

    def execute(self, inputs, outputs, run):
        """Write one line an evaluation."""
        outputs["out"].mkdir()
        found = [f"{folder.name} {(folder / 'metrics.json').read_text()}" for folder in sorted(inputs["evals"].iterdir())]
        (outputs["out"] / "page.txt").write_text("\n".join([self.config.title, *found]))


@hookimpl
def workbench_plugins():
    """Offer the report."""
    return [List]
