"""Copies of the project for tests that run it from the outside: a git repository with a DVC workspace and smaller params.

The code of the copy is what runs there, since ``python -m`` and the plugin host take a workspace's own code first.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from workbench.testing.project import Done, Project

PROJECT = Path(__file__).resolve().parent.parent
FILES = (
    "dvc.yaml",
    "params.yaml",
    "compute.yaml",
    ".dvcignore",
    ".gitignore",
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvc/plots/seeds.json",
)
FOLDERS = ("workbench", "plugins")
IGNORED = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*_cache", "dist", "build")
EXCLUDE = ["*/tests/*", "networkx/algorithms/*", "networkx/drawing/*"]
ARCHITECTURE = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "tie_word_embeddings": True,
    "max_position_embeddings": 256,
}
SMALLER: Mapping[str, Any] = {
    "curate.corpus.with": {"packages": ["networkx"], "exclude": EXCLUDE, "private": False},
    "curate.problems.with.train": 40,
    "curate.problems.with.heldout": 10,
    "tokenize.with.vocab_size": 512,
    "pretrain.with.architecture": ARCHITECTURE,
    "pretrain.with.context_length": 64,
    "pretrain.with.tokens": 8 * 64 * 6,
    "pretrain.with.logging_steps": 2,
    "pretrain.with.optimizer.warmup_steps": 2,
    "sft.with.steps": 4,
    "sft.with.batch_size": 8,
    "sft.with.max_length": 96,
    "sft.with.max_cut_share": 1.0,  # the small vocabulary makes long texts
    "sft.with.logging_steps": 2,
    "sft.with.optimizer.warmup_steps": 1,
    "align.with.steps": 4,
    "align.with.batch_size": 4,
    "align.with.max_length": 96,
    "align.with.max_cut_share": 1.0,
    "align.with.logging_steps": 2,
    "align.with.optimizer.warmup_steps": 1,
    "eval.perplexity.with.documents": 20,
    "eval.perplexity.with.stride": 32,
    "eval.perplexity.with.baseline_documents": 50,
    "eval.perplexity.with.samples": 4,
    "eval.perplexity.with.sample_tokens": 16,
    "eval.multiple-choice.with.questions": 20,
    "eval.preference.with.rows": 20,
    "report.with.prompts": ["What does `networkx.path_graph` do?"],
    "report.with.max_tokens": 16,
}
VIEWS = ("instructions", "preferences", "benchmark")


@dataclass(frozen=True)
class Workspace(Project):
    """A folder with a pipeline, its git repository and the files of its settings."""

    def repro(self, *targets: str) -> Done:
        """``dvc repro``, which must succeed."""
        done = self.dvc("repro", *targets)
        assert done.code == 0, done.text
        return done

    def git(self, *words: str) -> str:
        """``git …``, which must succeed."""
        done = self.call("git", *words)
        assert done.code == 0, done.text
        return done.out

    def params(self, **changes: Any) -> None:
        """Change values of params.yaml; dots in keys are written ``__`` (``dedup__with__threshold=0.9``), None removes a key."""
        self.edit("params.yaml", lambda content: change(content, {key.replace("__", "."): v for key, v in changes.items()}))

    def edit(self, name: str, change_content: Callable[[Any], None]) -> None:
        """Change a YAML file."""
        file = self.root / name
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        change_content(content)
        file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")

    def replace(self, name: str, old: str, new: str) -> None:
        """Replace a text that stands once in a file."""
        file = self.root / name
        content = file.read_text(encoding="utf-8")
        assert content.count(old) == 1, f"{old!r} stands {content.count(old)} times in {name}"
        file.write_text(content.replace(old, new), encoding="utf-8")

    def locked(self) -> dict[str, Any]:
        """The stages of dvc.lock."""
        stages: dict[str, Any] = yaml.safe_load((self.root / "dvc.lock").read_text(encoding="utf-8"))["stages"]
        return stages

    def copy(self, root: Path) -> Workspace:
        """The whole folder once more, DVC's cache and the MLflow store included."""
        shutil.copytree(self.root, root, symlinks=True)
        return Workspace.at(root)


def create(root: Path, changes: Mapping[str, Any] | None = None) -> Workspace:
    """Copy the project's own files to ``root``, make the params small, and commit all."""
    root.mkdir(parents=True)
    for name in FILES:
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(PROJECT / name, root / name)
    for name in FOLDERS:
        shutil.copytree(PROJECT / name, root / name, ignore=IGNORED)
    made = Workspace.at(root)
    views = {f"curate.{view}.with.{key}": SMALLER["curate.corpus.with"][key] for view in VIEWS for key in ("packages", "exclude")}
    made.edit("params.yaml", lambda content: change(content, {**SMALLER, **views, **(changes or {})}))
    made.edit("compute.yaml", lambda content: content.update(threads=1))
    made.git("init", "--quiet", "--initial-branch=main")
    commit(made)
    return made


def commit(made: Workspace) -> None:
    """Commit all that git does not ignore."""
    made.git("add", "--all")
    made.git("commit", "--quiet", "--allow-empty", "--message=test")


def change(content: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Set values by dotted keys; None removes a key."""
    for key, value in changes.items():
        *parents, last = key.split(".")
        place: Any = content
        for part in parents:
            place = place[part]
        if value is None:
            del place[last]
        else:
            place[last] = value


def ran(done: Done) -> list[str]:
    """The stages that a ``dvc repro`` executed, in their order."""
    return _stages(done, "Running stage ")


def skipped(done: Done) -> list[str]:
    """The stages of which a ``dvc repro`` said that nothing of theirs had changed."""
    return _stages(done, "Stage ", "didn't change, skipping")


def restored(done: Done) -> list[str]:
    """The stages whose outputs a ``dvc repro`` took from the cache."""
    return _stages(done, "Stage ", "is cached - skipping run")


def _stages(done: Done, start: str, end: str = "") -> list[str]:
    return [line.split("'")[1] for line in done.out.splitlines() if line.startswith(start) and end in line]


@cache
def tokenized() -> Workspace:
    """A workspace whose pipeline has run up to the tokenizer; shared, so copy it before changing anything."""
    made = create(_session_folder() / "tokenized")
    made.repro("tokenize")
    commit(made)
    return made


@cache
def _session_folder() -> Path:
    import atexit

    folder = Path(tempfile.mkdtemp(prefix="workbench-tests-")).resolve()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
