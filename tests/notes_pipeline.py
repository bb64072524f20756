"""The default pipeline up to the tokenizer on a few notes, run by an environment in which tests install with pip."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import beside
import workspace
from beside import Beside
from workspace import Workspace

DISTRIBUTIONS = Path(__file__).resolve().parent / "distributions"
STAGES = ("resolve", "curate", "dedup", "tokenize")
TOPICS = ("matrices", "graphs", "tables", "figures", "tensors", "primes", "strings", "sets", "rings", "trees", "queues", "files")
EMPTY = range(40, 48)


def create(root: Path, python: Beside, changes: Mapping[str, Any] | None = None) -> Workspace:
    """Make the workspace; nothing has run in it, and it tells no tracker."""
    made = workspace.create(root)
    (root / "texts").mkdir()
    (root / "texts" / "notes.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts()))
    made.edit("dvc.yaml", _cut_pipeline)
    made.edit("params.yaml", _cut_params)
    made.edit("params.yaml", lambda content: workspace.change(content, dict(changes or {})))
    made.edit("compute.yaml", lambda content: content.update(trackers=[]))
    workspace.commit(made)
    return _run_by(python, made)


def copy(made: Workspace, root: Path, python: Beside) -> Workspace:
    """The workspace once more, run by this environment."""
    return _run_by(python, made.copy(root))


def texts() -> list[str]:
    """Eight notes on each topic, which differ in their numbers alone, and eight texts that say next to nothing."""
    said = "Chapter {1} on {0}, {2} steps: what {0} are, why {0} matter, how {0} fail, when {0} help and where {0} end."
    notes = [said.format(topic, chapter, steps) for topic in TOPICS for chapter in range(10, 14) for steps in (3, 4)]
    return [*notes, *("no " * repeats for repeats in EMPTY)]


def pip(python: Beside, *words: str | Path) -> None:
    """``pip …`` in the environment, which must succeed and reaches no index."""
    done = python.call("pip", "--quiet", *map(str, words), cwd=python.root, PYTHONDONTWRITEBYTECODE="1")
    assert done.returncode == 0, done.stdout + done.stderr


def copy_python(python: Beside, root: Path) -> Beside:
    """The environment once more, with what is installed in it."""
    shutil.copytree(python.root, root, symlinks=True)
    return beside.create(root)


def copy_distribution(name: str, folder: Path) -> Path:
    """A copy of one of the distributions, to change."""
    return Path(shutil.copytree(DISTRIBUTIONS / name, folder / name, ignore=workspace.IGNORED))


def _run_by(python: Beside, made: Workspace) -> Workspace:
    path = os.pathsep.join([str(python.root / "bin"), made.variables["PATH"]])
    return Workspace(made.root, {**made.variables, "PATH": path})


def _cut_pipeline(content: dict[str, Any]) -> None:
    stages = content["stages"]
    content["stages"] = {name: stages[name] for name in STAGES}
    dedup = stages["dedup"]
    dedup["cmd"] = dedup["cmd"].replace(" --benchmark data/curated/benchmark", "")
    dedup["deps"].remove("data/curated/benchmark")


def _cut_params(content: dict[str, Any]) -> None:
    source = {"use": "files", "with": {"path": "texts"}, "filters": [], "seed": 0}
    dedup = {"use": "minhash", "with": {"heldout": 0.05}, "seed": 0}
    tokenize = {**content["tokenize"], "with": {**content["tokenize"]["with"], "vocab_size": 384}}
    content.clear()
    content.update(curate={"corpus": source}, dedup=dedup, tokenize=tokenize)
