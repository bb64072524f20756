"""`workbench new-plugin`: what it writes installs, passes its conformance tests and runs in the pipeline, for every kind."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import beside
import pyarrow.parquet as pq
import pytest
import workspace
import yaml
from beside import Beside
from hypothesis import example, given, settings
from hypothesis import strategies as st
from workspace import Workspace

from workbench.builtin import workbench_kinds
from workbench.commands import scaffold
from workbench.errors import PluginError
from workbench.testing import __all__ as conformance_classes

KINDS = [base.kind for base in workbench_kinds()]

NAMES = st.from_regex(scaffold.NAME, fullmatch=True).filter(lambda name: len(name) <= 40 and yaml.safe_load(name) == name)
QUICK = ("filter", "dedup")
"""Kinds whose new plugin is tested by `make test`, too."""


@dataclass(frozen=True)
class Written:
    """A workspace with a new plugin of every kind, and the environment in which they are installed."""

    made: Workspace
    environment: Beside
    printed: dict[str, str]


@pytest.fixture(scope="module")
def written(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Written:
    made = workspace.tokenized().copy(tmp_path_factory.mktemp("scaffold") / "made")
    shutil.copytree(checkout / "docs", made.root / "docs", ignore=shutil.ignore_patterns("pictures"))
    environment = beside.create(tmp_path_factory.mktemp("beside"))
    made = replace(made, variables={**made.variables, **environment.variables})
    printed = {}
    for kind in KINDS:
        done = made.call("workbench", "new-plugin", kind, "demo")
        assert done.code == 0, done.text
        printed[kind] = done.out
    assert made.call("workbench", "new-plugin", "pretrain", "own", "--model").code == 0
    folders = [*(f"plugins/{kind}-demo" for kind in KINDS), "plugins/pretrain-own"]
    done = made.call("pip", "install", *(word for folder in folders for word in ("-e", folder)))
    assert done.code == 0, done.text
    return Written(made, environment, printed)


def test_every_kind_has_a_template() -> None:
    assert {folder.name for folder in scaffold.TEMPLATES.iterdir() if folder.is_dir()} == set(KINDS)
    assert {f"{kind.capitalize()}Conformance" for kind in KINDS} <= set(conformance_classes)


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[] if kind in QUICK else [pytest.mark.slow]) for kind in KINDS])
def test_the_new_plugin_passes_its_conformance_tests(written: Written, kind: str) -> None:
    done = written.environment.call("pytest", "--verbose", f"plugins/{kind}-demo", cwd=written.made.root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_every_config_field_is_documented PASSED" in done.stdout


@pytest.mark.slow
def test_the_new_model_class_passes_its_tests_and_conforms(written: Written) -> None:
    done = written.environment.call("pytest", "--verbose", "plugins/pretrain-own", cwd=written.made.root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_it_writes_the_same_with_and_without_its_state PASSED" in done.stdout
    assert "test_the_model_can_be_evaluated PASSED" in done.stdout


def test_the_conformance_tests_of_a_new_plugin_can_fail(written: Written, tmp_path: Path) -> None:
    shutil.copytree(written.made.root / "plugins" / "reward-demo", tmp_path / "plugins" / "reward-demo")
    module = tmp_path / "plugins" / "reward-demo" / "workbench_reward_demo" / "__init__.py"
    module.write_text(module.read_text().replace("if shared else 0.0", "if shared else float('nan')"))
    done = written.environment.call("pytest", "plugins/reward-demo", cwd=tmp_path, PYTHONPATH=str(module.parent.parent))
    assert done.returncode == 1
    assert "test_the_output_is_valid" in done.stdout


def test_the_new_plugins_are_listed_and_explained(written: Written) -> None:
    listed = json.loads(written.made.call("workbench", "plugins", "--json").out)
    found = {row["kind"]: row for row in listed if row["name"] == "demo"}
    assert sorted(found) == sorted(KINDS)
    assert {row["health"] for row in found.values()} == {"ok"}
    told = json.loads(written.made.call("workbench", "info", "filter", "demo", "--json").out)
    assert [(row["key"], row["default"]) for row in told["config"]] == [("min_distinct", 0.2)]
    assert "Drops documents that repeat the same words" in told["description"]


def test_the_next_three_steps_are_printed(written: Written) -> None:
    lines = [line.strip() for line in written.printed["dedup"].splitlines()]
    assert lines[0] == "wrote plugins/dedup-demo; next:"
    assert lines[2:5] == ["pip install -e plugins/dedup-demo", "pytest plugins/dedup-demo", "in params.yaml:"]
    assert yaml.safe_load(block(written.printed["dedup"]))["dedup"]["use"] == "demo"
    assert "in compute.yaml:" in written.printed["tracker"]


def test_the_code_is_as_clean_as_the_projects(written: Written, checkout: Path) -> None:
    shutil.copyfile(checkout / "pyproject.toml", written.made.root / "pyproject.toml")
    folders = [*(f"plugins/{kind}-demo" for kind in KINDS), "plugins/pretrain-own"]
    for words in (("check", "--no-cache"), ("format", "--check", "--no-cache")):
        done = subprocess.run(["ruff", *words, *folders], cwd=written.made.root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def block(printed: str) -> str:
    """The lines for params.yaml or compute.yaml, as they were printed."""
    return printed.partition(".yaml:\n")[2]


@pytest.mark.slow
def test_the_default_pipeline_runs_with_the_new_plugins(written: Written) -> None:
    made = written.made
    params = yaml.safe_load((made.root / "params.yaml").read_text())
    params |= {"eval": {}, "models": ["base"]}  # one evaluation of one model is enough
    for kind in ("source", "filter", "dedup", "tokenizer", "eval"):
        merge(params, yaml.safe_load(block(written.printed[kind])))
    (made.root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    made.edit("compute.yaml", lambda content: merge(content, yaml.safe_load(block(written.printed["tracker"]))))
    done = made.call("dvc", "repro")
    assert done.code == 0, done.text
    made.wait()

    origins = [row["origin"] for row in pq.read_table(made.root / "data/curated/corpus").column("meta").to_pylist()]
    assert len(origins) > 100
    assert all(origin.partition(":")[0].endswith(".md") for origin in origins)
    used = {stage: record["use"] for stage, record in stages(made).items()}
    assert {stage for stage, name in used.items() if name == "demo"} == {"curate.corpus", "dedup", "tokenize", "eval.demo"}
    assert stages(made)["curate.corpus"]["filters"] == [{"config": {"min_distinct": 0.2}, "use": "demo"}]
    for model in params["models"]:
        result = json.loads((made.root / f"data/metrics/eval-demo-{model}.json").read_text())
        assert 0 < result["bits_per_byte"] < 16
    tracked = [json.loads(file.read_text()) for file in (made.root / ".workbench/demo").iterdir()]
    assert {run["status"] for run in tracked} == {"FINISHED"}
    assert {run["stage"] for run in tracked} >= {"curate@corpus", "dedup", "tokenize", "pretrain", "eval@demo-base", "report"}


def merge(content: dict[str, Any], block: dict[str, Any]) -> None:
    """What a person does with the printed lines: they replace what is under their keys."""
    for key, value in block.items():
        if isinstance(value, dict) and key in content and key != "with":
            merge(content[key], value)
        else:
            content[key] = value


def stages(made: Workspace) -> dict[str, Any]:
    """The lock's entries by their addresses."""
    locked = json.loads((made.root / "plugins-lock.json").read_text())["stages"]
    nested = {f"{section}.{key}": entry for section in ("curate", "eval") for key, entry in locked.pop(section).items()}
    return {**locked, **nested}


@settings(deadline=None)
@given(st.sampled_from([*((kind, False) for kind in KINDS), ("pretrain", True)]), NAMES)
@example(("eval", False), "evaluation")
@example(("source", False), "row")
@example(("dedup", False), "if-else")
@example(("pretrain", True), "pre-trained")
def test_any_name_gives_a_sound_distribution(what: tuple[str, bool], name: str) -> None:
    new = scaffold.Draft(what[0], name, what[1])
    files = new.files()
    metadata = tomllib.loads(files["pyproject.toml"])
    assert metadata["project"]["entry-points"]["workbench"] == {metadata["project"]["name"]: new.package}
    assert list(metadata["project"]["entry-points"].get("workbench.model_types", {})) == ([name] if new.model else [])
    defined = set()
    for file, content in files.items():
        if file.endswith(".py"):
            defined |= {node.name for node in ast.parse(content).body if isinstance(node, ast.ClassDef)}
    assert defined >= {new.plugin, f"Test{new.plugin}"}
    assert any(found.endswith("LmForCausalLM") for found in defined) == new.model
    assert name in str(yaml.safe_load(new.block()))
    assert new.block().splitlines()[-1].strip() in files["README.md"]


@pytest.mark.parametrize(
    "name", ["", "X", "a_b", "a--b", "-a", "a-", "4gram", "a/b", "../a", "a.b", "é", "no", "null", "a" * 41, "a\n"]
)
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(PluginError, match="cannot be a plugin's name") as caught:
        scaffold.draft("filter", name)
    assert "lower-case letters" in caught.value.fix


@pytest.mark.parametrize(
    ("kind", "fix"),
    [("filtre", "did you mean 'filter'?"), ("rewards", "did you mean 'reward'?"), ("x", "the kinds with one are")],
)
def test_an_unknown_kind_is_refused_with_the_choices(kind: str, fix: str) -> None:
    with pytest.raises(PluginError, match="there is no kind") as caught:
        scaffold.draft(kind, "demo")
    assert fix in caught.value.fix


def test_the_name_of_an_installed_plugin_is_refused() -> None:
    with pytest.raises(PluginError, match="the dedup 'minhash' is there already") as caught:
        scaffold.draft("dedup", "minhash")
    assert "pionero-workbench-dedup-minhash" in caught.value.where


@pytest.mark.parametrize(
    ("kind", "name", "what"),
    [("filter", "demo", "a filter brings no model"), ("pretrain", "llama", "a model type 'llama' already")],
)
def test_a_model_that_cannot_be_is_refused(kind: str, name: str, what: str) -> None:
    with pytest.raises(PluginError, match=what):
        scaffold.draft(kind, name, model=True)


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    new = scaffold.draft("filter", "demo")
    folder = scaffold.write(new, tmp_path / "some" / "where")
    assert folder == tmp_path / "some" / "where" / "filter-demo"
    (folder / "README.md").write_text("mine")
    with pytest.raises(PluginError, match="there is something already"):
        scaffold.write(new, tmp_path / "some" / "where")
    assert (folder / "README.md").read_text() == "mine"
    assert [file.name for file in folder.parent.iterdir()] == ["filter-demo"]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PluginError, match="nothing can be written") as caught:
        scaffold.write(scaffold.draft("filter", "demo"), tmp_path / "file")
    assert "--into" in caught.value.fix


def test_the_command_line_says_where_and_how_to_mend(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "workbench", "new-plugin")
    done = subprocess.run((*command, "filtr", "demo"), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no kind 'filtr'")
    assert "did you mean 'filter'?" in done.stderr
    done = subprocess.run(
        (*command, "filter", "demo", "--into", "my plugins"), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "pip install -e 'my plugins/filter-demo'" in done.stdout
    assert (tmp_path / "my plugins" / "filter-demo" / "tests" / "test_demo.py").is_file()


def test_the_templates_are_in_the_wheel(checkout: Path, tmp_path: Path) -> None:
    copy = tmp_path / "core"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(checkout / name, copy / name)
    shutil.copytree(checkout / "workbench", copy / "workbench", ignore=workspace.IGNORED)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    subprocess.run((*pip, "--wheel-dir", str(tmp_path), str(copy)), check=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    templates = {file.relative_to(checkout).as_posix() for file in scaffold.TEMPLATES.rglob("*.txt")}
    assert templates
    assert templates <= packed
