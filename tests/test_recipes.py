"""The recipes: each fits its plugins and runs whole, with smaller figures, in a folder of a repository with DVC."""

from __future__ import annotations

import json
import shlex
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
    "sft.with.max_cut_share": 1.0,  # the small vocabulary makes long texts
    "align.dpo.with.steps": 2,
    "align.dpo.with.batch_size": 4,
    "align.dpo.with.max_length": 96,
    "align.dpo.with.max_cut_share": 1.0,
    "align.grpo.with.steps": 2,
    "align.grpo.with.problems_per_step": 4,
    "align.grpo.with.group_size": 2,
    "align.grpo.with.batch_size": 8,
    "align.grpo.with.logging_steps": 1,
    "align.grpo.with.save_steps": 1,
    "align.grpo.with.if_nothing_learnt": "warn",  # the start solves no sum
    "models": ["grpo"],
    "eval.multiple-choice.with.questions": 20,
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
    assert {"eval-multiple-choice-grpo", "eval-preference-grpo"} <= set(metrics)
    models = recipe.root / "data/models"
    assert (models / "sft/model.safetensors").read_bytes() != (models / "dpo/model.safetensors").read_bytes()
    assert [row["step"] for row in read_training_log(models / "grpo")] == [1, 2]
    assert "grpo" in (recipe.root / "data/report/README.md").read_text()
    assert workspace.ran(recipe.repro()) == ["resolve"]


@pytest.mark.whole_recipe
@pytest.mark.timeout(3 * 3600)
def test_it_runs_whole_by_the_params_that_it_ships(tmp_path: Path, site: Path) -> None:
    made = workspace.create(tmp_path / "project")
    shutil.copytree(PROJECT / TULU3, made.root / TULU3, ignore=shutil.ignore_patterns("data", "dvc.lock", "plugins-lock.json"))
    shutil.copyfile(made.root / "compute.yaml", made.root / TULU3 / "compute.yaml")
    workspace.commit(made)
    whole = replace(made, root=made.root / TULU3, variables={**made.variables, "PYTHONPATH": str(site)})
    whole.repro()
    known = set(yaml.safe_load((whole.root / "params.yaml").read_text())["models"])
    assert {folder.name for folder in (whole.root / "data/models").iterdir() if folder.is_dir()} == known
    assert all(model in (whole.root / "data/report/README.md").read_text() for model in known)
    made.wait()


def make_smaller(content: dict[str, Any]) -> None:
    workspace.change(content, SMALLER)
    docs, *arithmetic = content["curate"]["instructions"]["sources"]
    docs["with"].update(DOCS)
    for source in arithmetic:
        source["with"].update(PROBLEMS)


OWN_SMALLER: Mapping[str, Any] = {
    "tokenize.with.vocab_size": 512,
    "pretrain.with.architecture": workspace.ARCHITECTURE,
    "pretrain.with.context_length": 64,
    "pretrain.with.tokens": 8 * 64 * 6,
    "pretrain.with.logging_steps": 2,
    "eval.perplexity.with.documents": 20,
    "eval.perplexity.with.stride": 32,
    "eval.perplexity.with.baseline_documents": 50,
    "eval.perplexity.with.samples": 4,
    "eval.perplexity.with.sample_tokens": 16,
}
CHAIN = (
    "curate:corpus,curate:preferences,curate:problems,dedup,tokenize:a,tokenize:b,pretrain:a,pretrain:b,"
    "align:dpo,align:grpo,eval:preference,report"
)


@pytest.fixture(scope="module")
def project_of_recipes(tmp_path_factory: pytest.TempPathFactory, site: Path) -> Workspace:
    made = workspace.create(tmp_path_factory.mktemp("recipes") / "project")
    texts = made.root / "texts"
    texts.mkdir()
    for file in sorted((PROJECT / "docs").rglob("*.md")):
        shutil.copyfile(file, texts / file.name)
    return replace(made, variables={**made.variables, "PYTHONPATH": str(site)})


def new_recipe(made: Workspace, name: str, stages: str, *settings: str) -> Workspace:
    done = made.run("new-recipe", name, "--stages", stages, *(word for value in settings for word in ("--set", value)))
    assert done.code == 0, done.text
    written = replace(made, root=made.root / "recipes" / name)
    checked = written.run("check")
    assert checked.code == 0, checked.text
    return written


def commands(made: Workspace) -> dict[str, dict[str, str]]:
    """Stage → the options of its command."""
    stages = yaml.safe_load((made.root / "dvc.yaml").read_text())["stages"]
    words = {name: stage.get("do", stage)["cmd"].split()[5:] for name, stage in stages.items()}
    return {name: dict(zip(found[::2], found[1::2], strict=True)) for name, found in words.items()}


def test_a_new_recipe_connects_each_input_to_the_newest_output_of_its_format(project_of_recipes: Workspace) -> None:
    made = new_recipe(project_of_recipes, "chain", CHAIN, "align.grpo.rewards=[exact-answer]", "align.grpo.steps=3")
    found = commands(made)
    assert found["dedup"]["--corpus"] == "data/curated/corpus"
    assert "--benchmark" not in found["dedup"]
    assert found["tokenize-b"] == {
        "--corpus": "data/split/train",
        "--out": "data/tokenizer/b",
        "--metrics": "data/metrics/tokenize-b.json",
    }
    assert [found[f"pretrain-{key}"]["--tokenizer"] for key in "ab"] == ["data/tokenizer/a", "data/tokenizer/b"]
    assert (found["align-dpo"]["--model"], found["align-grpo"]["--model"]) == ("data/models/b", "data/models/dpo")
    assert found["align-grpo"]["--data"] == "${align.grpo.data}"
    assert found["align-dpo"]["--heldout"] == found["align-grpo"]["--heldout"] == "data/split/heldout"
    assert found["eval-preference"]["--preferences"] == "data/curated/preferences"
    params = yaml.safe_load((made.root / "params.yaml").read_text())
    assert params["models"] == params["report"]["with"]["models"] == ["a", "b", "dpo", "grpo"]
    assert (params["align"]["grpo"]["data"], params["align"]["grpo"]["with"]["steps"]) == ("data/curated/problems", 3)
    assert params["curate"]["corpus"]["filters"][0]["use"] == "length"


def test_a_corpus_that_nothing_splits_is_no_held_out_text(project_of_recipes: Workspace) -> None:
    made = new_recipe(project_of_recipes, "unsplit", "curate:corpus,curate:preferences,tokenize,pretrain,align:dpo")
    assert "--heldout" not in commands(made)["align-dpo"]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["dedup"], "reads corpus (corpus), and no stage before dedup makes it"),
        (["curate=pydocs,dedup,tokenize,pretrain,align:dpo"], "reads data (preferences), and no stage before align.dpo makes it"),
        (["curate=pydocs,tokenize,pretrain,eval:perplexity"], "put a stage whose output heldout is corpus before it"),
        (
            ["curate=pydocs,dedup:a,dedup:b,tokenize,pretrain:a,pretrain:b,eval:perplexity"],
            "reads what dedup.b holds out, and pretrain.a may be trained on that text",
        ),
        (
            ["curate=pydocs,tokenize,pretrain,dedup,eval:perplexity"],
            "reads what dedup holds out, and pretrain may be trained on that text",
        ),
        (["curate=pydocs,dedup,tokenize,pretrain,report"], "reads evals (evaluation), and no stage before report makes it"),
        (["curate=pydocs,dedup,dedup"], "give each a key of its own"),
        (["curates"], "did you mean 'curate'?"),
        (["curate"], "which source is not clear"),
        (["curate=files"], "needs a value for path"),
        (["curate=pydocs", "--set", "curate.other.private=true"], "no stage takes the value 'curate.other.private'"),
        (["curate=pydocs", "--set", "curate.corpus.privat=true"], "did you mean 'private'?"),
        (["curate=files", "--set", "curate.corpus.path=nowhere"], "nowhere"),
        (["curate=files", "--set", "curate.corpus.path=3"], "should be a valid string"),
        (
            ["curate=files", "--set", "curate.corpus.path=texts", "--set", "curate.corpus.max_bad_share=7"],
            "less than or equal to 1",
        ),
    ],
)
def test_a_new_recipe_that_does_not_fit_is_refused(project_of_recipes: Workspace, words: list[str], part: str) -> None:
    done = project_of_recipes.run("new-recipe", "bad", "--stages", *words)
    assert done.code == 1, done.text
    assert part in done.err
    assert "Traceback" not in done.err
    assert not list((project_of_recipes.root / "recipes").glob("*bad*"))


@pytest.fixture(scope="module")
def own(project_of_recipes: Workspace) -> Workspace:
    """What README.md has one write for text of one's own."""
    text = (PROJECT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    line, *_ = [line for line in text.splitlines() if line.startswith("workbench new-recipe")]
    words = shlex.split(line.replace("/data/my-texts", "../../texts"))
    done = project_of_recipes.run(*words[1:])
    assert done.code == 0, done.text
    assert f"cd recipes/{words[2]}" in text
    return replace(project_of_recipes, root=project_of_recipes.root / "recipes" / words[2])


def test_the_recipe_of_the_readme_fits_its_plugins(own: Workspace) -> None:
    done = own.run("check")
    assert done.code == 0, done.text
    assert "docstring_sections: false" in (own.root / "params.yaml").read_text()


@pytest.mark.slow
def test_the_recipe_of_the_readme_runs_whole(project_of_recipes: Workspace, own: Workspace) -> None:
    own.edit("params.yaml", lambda content: workspace.change(content, OWN_SMALLER))
    workspace.commit(project_of_recipes)
    own.repro()
    metrics = json.loads((own.root / "data/metrics/eval-perplexity-base.json").read_text())
    assert metrics["bits_per_byte"] > 0
    assert "base" in (own.root / "data/report/README.md").read_text()
    assert workspace.ran(own.repro()) == ["resolve"]


def test_every_shipped_recipe_has_a_test_that_runs_it() -> None:
    assert [folder.name for folder in sorted((PROJECT / "recipes").iterdir()) if folder.is_dir()] == [TULU3.name]
