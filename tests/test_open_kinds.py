"""A distribution adds a kind and a format; the pipeline, the trackers and every command know them without an edit of the core."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import plugin_project
import pytest
import workspace
import yaml
from mlflow.entities import FileInfo, Run
from mlflow.tracking import MlflowClient
from plugin_project import stranger
from test_reproduce import in_git
from workbench_kind_translate import Swap
from workspace import Workspace

from workbench.testing import StageConformance

DISTRIBUTION = Path(__file__).parent / "distributions" / "kind-translate"
STAGE = {
    "foreach": "${translate}",
    "do": {
        "cmd": "python -m workbench run translate.${key} --corpus data/split/train --out data/translated/${key} "
        "--metrics data/metrics/translate-${key}.json",
        "params": [{"plugins-lock.json": ["stages.translate.${key}"]}],
        "deps": ["data/split/train"],
        "outs": ["data/translated/${key}"],
        "metrics": [{"data/metrics/translate-${key}.json": {"cache": False}}],
    },
}
WORDS = {"line": "línea"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The light pipeline with a stage of the new kind, run once."""
    made = in_git(tmp_path_factory.mktemp("open"))
    plugin_project.install_folder(Path(made.variables["PYTHONPATH"].split(os.pathsep)[0]), DISTRIBUTION)
    pipeline = yaml.safe_load((made.root / "dvc.yaml").read_text())
    pipeline["stages"] = {**pipeline["stages"], "translate": STAGE}
    (made.root / "dvc.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    made.params(translate={"spanish": {"use": "swap", "with": {"words": WORDS}}})
    workspace.commit(made)
    made.repro()
    return made


def runs(made: Workspace) -> tuple[MlflowClient, list[Run]]:
    """The runs of the stage that repeat no other."""
    client = MlflowClient(tracking_uri=f"sqlite:///{made.root}/.workbench/mlflow.db")
    names = [found.experiment_id for found in client.search_experiments()]
    wanted = "tags.`workbench.stage` = 'translate@spanish'"
    found = client.search_runs(names, wanted)
    return client, [run for run in found if "workbench.reproduces" not in run.data.tags]


def every_file(client: MlflowClient, run: str, folder: str = "") -> list[FileInfo]:
    """The files of a run, whatever their depth."""
    found = client.list_artifacts(run, folder or None)
    return [file for item in found for file in (every_file(client, run, item.path) if item.is_dir else [item])]


def test_a_kind_that_was_uninstalled_is_told_from_a_mistake(made: Workspace, tmp_path: Path) -> None:
    """plugins-lock.json knows who brought it."""
    site = Path(shutil.copytree(made.variables["PYTHONPATH"].split(os.pathsep)[0], tmp_path / "site"))
    (info,) = site.glob("*kind_translate*.dist-info")
    shutil.rmtree(info)
    done = made.run("check", PYTHONPATH=str(site))
    assert done.code == 1
    name = "workbench-kind-translate"
    assert f"the kind of this section came with {name}==" in done.err
    assert "which is no longer installed" in done.err
    assert f"fix:   pip install {name}==" in done.err


def test_its_stage_runs_and_its_output_is_tracked_with_rows_and_preview(made: Workspace) -> None:
    assert "línea" in (made.root / "data/translated/spanish/pairs.tsv").read_text(encoding="utf-8")
    metrics = json.loads((made.root / "data/metrics/translate-spanish.json").read_text())
    assert metrics["pairs"] > 0
    client, (run,) = runs(made)
    (output,) = json.loads(run.data.tags["workbench.outputs"])
    assert (output["format"], output["rows"]) == ("translations", metrics["pairs"])
    assert any("out-preview" in item.path for item in every_file(client, run.info.run_id))


def test_its_run_can_be_reproduced(made: Workspace) -> None:
    _, (run,) = runs(made)
    done = made.run("reproduce", run.info.run_id)
    assert done.code == 0, done.text
    assert "BIT-EXACT" in done.out


def test_a_second_repro_runs_nothing_and_plan_says_so(made: Workspace) -> None:
    assert workspace.ran(made.repro()) == ["resolve"]
    plans = {record["stage"]: record for record in json.loads(made.run("plan", "--json").out)}
    assert plans["translate@spanish"]["answer"] == "up to date"


def test_a_changed_word_is_planned_compared_and_run(made: Workspace) -> None:
    made.params(translate__spanish__with__words={"line": "renglón"})
    plan = made.run("why", "translate@spanish").out
    assert "words.line línea → renglón" in plan
    assert workspace.ran(made.repro()) == ["resolve", "translate@spanish"]
    made.params(translate__spanish__with__words=WORDS)
    assert workspace.restored(made.repro()) == ["translate@spanish"]


@pytest.mark.slow
def test_a_plugin_of_the_kind_runs_in_an_environment_of_its_own_with_the_distribution_of_its_kind(made: Workspace) -> None:
    site = Path(made.variables["PYTHONPATH"].split(os.pathsep)[0])
    plugin_project.install(site, "demo-plain", stranger("plain"), requires=("workbench-kind-translate", "text-unidecode>=1.3"))
    before = (made.root / "params.yaml").read_text()
    made.params(translate={"ascii": {"use": "plain"}})
    done = made.repro("translate@ascii")
    assert workspace.ran(done) == ["resolve", "translate@ascii"]
    (lock,) = (made.root / "environments").glob("*.lock")
    pins = lock.read_text()
    assert "text-unidecode==1.3" in pins
    assert "workbench-kind-translate==" not in pins  # the code that was hashed is linked in
    (translated,) = (made.root / "data/translated/ascii").iterdir()
    assert translated.read_text().isascii()
    recorded = json.loads((made.root / "plugins-lock.json").read_text())["beside"]["translate.ascii"]
    assert "workbench-kind-translate" in recorded
    (made.root / "params.yaml").write_text(before)


def test_a_wrong_name_is_refused_with_those_of_the_kind(made: Workspace) -> None:
    text = (made.root / "params.yaml").read_text()
    made.params(translate={"spanish": {"use": "swapp"}})
    done = made.run("check")
    (made.root / "params.yaml").write_text(text)
    assert done.code == 1
    assert "no translate 'swapp' is installed; there is swap" in done.err


def test_the_schema_and_the_list_know_it(made: Workspace) -> None:
    schema = json.loads(made.run("schema").out)
    assert schema["properties"]["translate"]["description"] == "One translate per key."
    assert "swap" in schema["$defs"]["translate"]["properties"]["use"]["enum"]
    assert "translate\n  swap" in made.run("plugins").out
    described = made.run("info", "translate", "swap").out
    assert "translations" in described


class TestSwap(StageConformance):
    """A plugin of the new kind is held to what every stage is."""

    plugin = Swap
    config: ClassVar[Mapping[str, Any]] = {"words": {"the": "el"}}
