"""A small pipeline of light third-party plugins, in a workspace with its own copy of the core; a stage takes half a second."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import plugin_project
import small_pipeline
from plugin_project import stranger
from small_pipeline import each, stage
from workspace import Workspace

MODEL = {
    "config.json": "{}",
    "model.safetensors": "",
    "tokenizer.json": "{}",
    "tokenizer_config.json": '{"eos_token": "<|end|>", "chat_template": "{{ messages }}"}',
}
"""As much of a model's folder as is looked at before a stage runs; the evaluation reads the length of config.json."""
SPLIT = {"train": "data/split/train", "heldout": "data/split/heldout", "decisions": "data/decisions/dedup"}
RESULTS = {"evals": "data/evals", "decisions": "data/decisions", "stage-metrics": "data/metrics"}
PIPELINE: dict[str, Any] = {
    "curate": each(
        "curate", {}, {"out": "data/curated/${key}", "decisions": "data/decisions/${key}"}, "data/metrics/curate-${key}.json"
    ),
    "dedup": stage("dedup", {"corpus": "data/curated/corpus"}, SPLIT, "data/metrics/dedup.json"),
    "eval": each(
        "eval",
        {"model": "raw/model", "heldout": "data/split/heldout"},
        {"out": "data/evals/${key}"},
        "data/metrics/eval-${key}.json",
    ),
    "report": stage("report", RESULTS, {"out": "data/report"}, "data/report.json"),
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
    site = folder / "site"
    require(site, "1.0")
    plugin_project.install(site, "stranger-short", stranger("short"), requires=("stranger-math",))
    plugin_project.install(site, "stranger-lighter", stranger("light", ("[:-1]", "[:1]"), name="lighter"))
    for name in ("lines", "light", "count", "list"):
        plugin_project.install(site, f"stranger-{name}", stranger(name))
    files = {f"raw/model/{name}": content for name, content in MODEL.items()}
    files |= {"raw/corpus.txt": TEXT, "raw/other.txt": TEXT[::-1].strip()}
    return small_pipeline.create(folder / "root", PIPELINE, PARAMS, files, site=site, trackers=list(trackers))


def require(site: Path, version: str) -> None:
    """Install a version of ``stranger-math``, which the filter depends on."""
    for old in site.glob("stranger_math-*.dist-info"):
        shutil.rmtree(old)
    info = site / f"stranger_math-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: stranger-math\nVersion: {version}\n")
