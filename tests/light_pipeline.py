"""A small pipeline of light third-party plugins, in a workspace with its own copy of the core; a stage takes half a second."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import plugin_project
import workspace
import yaml
from workspace import Workspace

SOURCE = '''"""A source for tests."""

import time
from pathlib import Path

from workbench.artifacts import digests
from workbench import hookimpl
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
'''
DEDUP = '''"""A dedup stage for tests."""

from pydantic import Field

from workbench import hookimpl
from workbench.artifacts import corpus, table
from workbench.kinds.dedup import DedupConfig, DedupStage

COLUMNS = {"id": "string", "kept": "bool"}


class LightConfig(DedupConfig):
    """Configuration."""

    words: int = Field(2, ge=1)
    """Documents that begin with the same words are duplicates."""


class Light(DedupStage[LightConfig]):
    """Keeps the first document of those that begin with the same words."""

    name = "NAME"
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
        run.metric("kept", len(kept))


@hookimpl
def workbench_plugins():
    """Offer the stage."""
    return [Light]
'''
EVAL = '''"""An evaluation for tests."""

from pathlib import Path

from workbench import hookimpl
from workbench.artifacts import evaluation, table
from workbench.artifacts.evaluation import Evaluation
from workbench.kinds.eval import EvalStage
from workbench.plugin import Config


class CountConfig(Config):
    """Configuration."""

    scale: float = 1.0
    """Factor of every score."""


class Count(EvalStage[CountConfig]):
    """Counts held-out characters."""

    name = "count"
    Config = CountConfig
    optional = frozenset({"train", "benchmark", "preferences"})

    def evaluate(self, model, data, run):
        """Not called: the whole stage is light."""
        raise NotImplementedError

    def execute(self, inputs, outputs, run):
        """Score every held-out document."""
        bias = len((inputs["model"] / "config.json").read_text())
        rows = table.read_rows(inputs["heldout"])
        scored = [{"id": row["id"], "group": "all", "score": self.config.scale * len(row["text"]) + bias} for row in rows]
        evaluation.write(outputs["out"], Evaluation({"score": sum(row["score"] for row in scored)}, "score", True, scored), {})
        run.metric("documents", len(scored))


@hookimpl
def workbench_plugins():
    """Offer the evaluation."""
    return [Count]
'''
REPORT = '''"""A report for tests."""

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
        (outputs["out"] / "page.txt").write_text("\\n".join([self.config.title, *found]))


@hookimpl
def workbench_plugins():
    """Offer the report."""
    return [List]
'''
METRICS = {"cache": False}
MODEL = {
    "config.json": "{}",
    "model.safetensors": "",
    "tokenizer.json": "{}",
    "tokenizer_config.json": '{"eos_token": "<|end|>", "chat_template": "{{ messages }}"}',
}
"""As much of a model's folder as is looked at before a stage runs; the evaluation reads the length of config.json."""
PIPELINE: dict[str, Any] = {
    "resolve": {
        "cmd": "python -m workbench resolve",
        "always_changed": True,
        "outs": [{"plugins-lock.json": {"cache": False, "persist": True}}],
    },
    "curate": {
        "foreach": "${curate}",
        "do": {
            "cmd": "python -m workbench run curate.${key} --out data/curated/${key} --decisions data/decisions/${key} "
            "--metrics data/metrics/curate-${key}.json",
            "params": [{"plugins-lock.json": ["stages.curate.${key}"]}],
            "outs": ["data/curated/${key}", "data/decisions/${key}"],
            "metrics": [{"data/metrics/curate-${key}.json": METRICS}],
        },
    },
    "dedup": {
        "cmd": "python -m workbench run dedup --corpus data/curated/corpus --train data/split/train "
        "--heldout data/split/heldout --decisions data/decisions/dedup --metrics data/metrics/dedup.json",
        "params": [{"plugins-lock.json": ["stages.dedup"]}],
        "deps": ["data/curated/corpus"],
        "outs": ["data/split/train", "data/split/heldout", "data/decisions/dedup"],
        "metrics": [{"data/metrics/dedup.json": METRICS}],
    },
    "eval": {
        "foreach": "${eval}",
        "do": {
            "cmd": "python -m workbench run eval.${key} --model raw/model --heldout data/split/heldout "
            "--out data/evals/${key} --metrics data/metrics/eval-${key}.json",
            "params": [{"plugins-lock.json": ["stages.eval.${key}"]}],
            "deps": ["raw/model", "data/split/heldout"],
            "outs": ["data/evals/${key}"],
            "metrics": [{"data/metrics/eval-${key}.json": METRICS}],
        },
    },
    "report": {
        "cmd": "python -m workbench run report --evals data/evals --decisions data/decisions --stage-metrics data/metrics "
        "--out data/report --metrics data/report.json",
        "params": [{"plugins-lock.json": ["stages.report"]}],
        "deps": ["data/evals", "data/decisions", "data/metrics"],
        "outs": ["data/report"],
        "metrics": [{"data/report.json": METRICS}],
    },
}
PARAMS: dict[str, Any] = {
    "curate": {
        "corpus": {"use": "lines", "with": {}, "filters": [{"use": "short", "with": {"limit": 60}}], "seed": 0},
        "other": {"use": "lines", "with": {"file": "raw/other.txt"}, "seed": 0},
    },
    "dedup": {"use": "light", "with": {"words": 2}, "seed": 0},
    "eval": {"first": {"use": "count", "with": {"scale": 1.0}, "seed": 0}},
    "report": {"use": "list", "with": {}, "seed": 0},
}
TEXT = """a first line of text
a first line, said once more
and then another
what is longer than any other line of this text, by far
the end
"""


def create(folder: Path, *, trackers: tuple[str, ...] = ()) -> Workspace:
    """Make the workspace ``folder/root`` and the plugins' ``folder/site``; nothing has run in it."""
    site, root = folder / "site", folder / "root"
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n")
    shutil.copytree(workspace.PROJECT / "workbench", root / "workbench", ignore=workspace.IGNORED)
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": PIPELINE}, sort_keys=False))
    (root / "params.yaml").write_text(yaml.safe_dump(PARAMS, sort_keys=False))
    (root / "compute.yaml").write_text(yaml.safe_dump({"trackers": list(trackers), "threads": 1}))
    (root / "raw" / "model").mkdir(parents=True)
    for name, content in MODEL.items():
        (root / "raw" / "model" / name).write_text(content)
    (root / "raw" / "corpus.txt").write_text(TEXT)
    (root / "raw" / "other.txt").write_text(TEXT[::-1].strip())
    require(site, "1.0")
    plugin_project.install(site, "stranger-lines", SOURCE)
    plugin_project.install(site, "stranger-short", plugin_project.FILTER.replace("{name}", "short"), requires=("stranger-math",))
    plugin_project.install(site, "stranger-light", DEDUP.replace("NAME", "light"))
    plugin_project.install(site, "stranger-lighter", DEDUP.replace("NAME", "lighter").replace("[:-1]", "[:1]"))
    plugin_project.install(site, "stranger-count", EVAL)
    plugin_project.install(site, "stranger-list", REPORT)
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return Workspace.at(root, PYTHONPATH=path)


def require(site: Path, version: str) -> None:
    """Install a version of ``stranger-math``, which the filter depends on."""
    for old in site.glob("stranger_math-*.dist-info"):
        shutil.rmtree(old)
    info = site / f"stranger_math-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: stranger-math\nVersion: {version}\n")
