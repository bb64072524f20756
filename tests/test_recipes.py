"""The recipes: each fits its plugins and runs whole, with smaller figures, in a folder of a repository with DVC."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import plugin_project
import pytest
import workspace
import yaml
from workspace import PROJECT, Workspace

from workbench.kinds.training import read_training_log

TULU3 = Path("recipes/tulu3")
NEEDS = ("align-grpo", "reward-exact-answer", "source-mixture")
DOCS = {"packages": ["networkx"], "exclude": workspace.EXCLUDE}
VIEW = {f"curate.{view}.with.{key}": value for view in ("corpus", "preferences", "benchmark") for key, value in DOCS.items()}
PROBLEMS = {"train": 200, "heldout": 20}
SMALLER: Mapping[str, Any] = {
    **VIEW,
    **{f"curate.problems.with.{key}": value for key, value in PROBLEMS.items()},
    "tokenize.with.vocab_size": 512,
    "pretrain.with.architecture": workspace.ARCHITECTURE,
    "pretrain.with.context_length": 64,
    "pretrain.with.tokens": 8 * 64 * 6,
    "pretrain.with.logging_steps": 2,
    "pretrain.with.optimizer.warmup_steps": 2,
    "sft.with.steps": 10,
    "sft.with.batch_size": 8,
    "sft.with.max_length": 96,
    "align.dpo.with.steps": 2,
    "align.dpo.with.batch_size": 4,
    "align.dpo.with.max_length": 96,
    "align.grpo.with.steps": 2,
    "align.grpo.with.problems_per_step": 4,
    "align.grpo.with.group_size": 2,
    "align.grpo.with.batch_size": 8,
    "align.grpo.with.logging_steps": 1,
    "align.grpo.with.save_steps": 1,
    "models": ["grpo"],
    "eval.multiple-choice": None,
    "eval.preference.with.rows": 20,
    "report.with.prompts": ["What is 8 + 6?"],
    "report.with.max_tokens": 16,
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    for name in NEEDS:
        plugin_project.install_folder(folder, PROJECT / "plugins" / name)
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, site: Path) -> Iterator[Workspace]:
    """The recipe's folder in a repository that holds the project."""
    made = workspace.create(tmp_path_factory.mktemp("recipe") / "project")
    shutil.copytree(PROJECT / TULU3, made.root / TULU3, ignore=shutil.ignore_patterns("data", "dvc.lock", "plugins-lock.json"))
    shutil.copyfile(made.root / "compute.yaml", made.root / TULU3 / "compute.yaml")
    workspace.commit(made)
    yield replace(made, root=made.root / TULU3, variables={**made.variables, "PYTHONPATH": str(site)})
    made.wait()


def test_it_fits_its_plugins_as_it_is_committed(recipe: Workspace) -> None:
    done = recipe.run("check")
    assert done.code == 0, done.text


def test_without_its_plugins_it_says_which_to_install(recipe: Workspace) -> None:
    done = recipe.run("check", PYTHONPATH="")
    assert done.code != 0
    assert "source 'mixture'" in done.text


def test_the_project_does_not_see_stages_of_a_recipe_that_never_ran(tmp_path: Path) -> None:
    made = Workspace.at(tmp_path / "root")
    for folder in (Path(".dvc"), TULU3):
        shutil.copytree(PROJECT / folder, made.root / folder, ignore=shutil.ignore_patterns("cache", "tmp", "data", "dvc.lock"))
    (made.root / "params.yaml").write_text("loss: 1")
    stage = {"cmd": "cp params.yaml loss.yaml", "deps": ["params.yaml"], "metrics": [{"loss.yaml": {"cache": False}}]}
    (made.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": stage}}))
    made.git("init", "--quiet")
    made.repro()
    workspace.commit(made)
    shown = made.dvc("metrics", "show")
    assert "loss.yaml" in shown.out
    assert "failed" not in shown.text, shown.text
    made.edit("params.yaml", lambda content: content.update(loss=2))
    made.repro()
    saved = made.dvc("exp", "save", "--name", "better")
    assert saved.code == 0, saved.text
    assert "better" in made.dvc("exp", "show").out


@pytest.mark.slow
def test_it_runs_whole_and_then_has_nothing_to_do(recipe: Workspace) -> None:
    recipe.edit("params.yaml", make_smaller)
    recipe.repro()
    metrics = {file.stem: json.loads(file.read_text()) for file in (recipe.root / "data/metrics").glob("*.json")}
    assert metrics["curate-instructions"]["rows.arithmetic"] == 3 * sum(PROBLEMS.values())
    assert metrics["curate-instructions"]["rows.pydocs-instructions"] > 100
    assert metrics["grpo"]["heldout_problems"] == PROBLEMS["heldout"]
    assert "eval-preference-grpo" in metrics
    models = recipe.root / "data/models"
    assert (models / "sft/model.safetensors").read_bytes() != (models / "dpo/model.safetensors").read_bytes()
    assert [row["step"] for row in read_training_log(models / "grpo")] == [1, 2]
    assert "grpo" in (recipe.root / "data/report/README.md").read_text()
    assert workspace.ran(recipe.repro()) == ["resolve"]


def make_smaller(content: dict[str, Any]) -> None:
    workspace.change(content, SMALLER)
    docs, *arithmetic = content["curate"]["instructions"]["sources"]
    docs["with"].update(DOCS)
    for source in arithmetic:
        source["with"].update(PROBLEMS)
