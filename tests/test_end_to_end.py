"""The whole default pipeline, every stage of the same dvc.yaml, with small params: one run that all these tests look at."""

from __future__ import annotations

import html.parser
import json
import math
import random
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import workspace
import yaml
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from workspace import Done, Workspace

PREVIEWED = {".png", ".svg", ".html", ".csv", ".json", ".md"}
RECORDS = {"lock_entry.json", "machine.json", "libraries.json"}
"""What every run has, whatever its output."""
CURATED = ("corpus", "instructions", "preferences", "problems", "benchmark")
TASKS = ("perplexity", "multiple-choice", "preference")
MODELS = ("base", "sft", "aligned")
STAGES = [
    *(f"curate@{key}" for key in CURATED),
    "dedup",
    "tokenize",
    "pretrain",
    "sft",
    "align",
    *(f"eval-{task}@{model}" for task in TASKS for model in MODELS),
    "report",
]


class Store:
    """What MLflow holds of a workspace."""

    def __init__(self, made: Workspace) -> None:
        self.client = MlflowClient(tracking_uri=f"sqlite:///{made.root / '.workbench' / 'mlflow.db'}")

    @cached_property
    def runs(self) -> list[Run]:
        experiments = [found.experiment_id for found in self.client.search_experiments()]
        return list(self.client.search_runs(experiments, max_results=500))

    def role(self, role: str) -> list[Run]:
        return [run for run in self.runs if run.data.tags.get("workbench.role") == role]

    def stage(self, name: str) -> Run:
        (found,) = [run for run in self.role("stage") if run.data.tags["workbench.stage"] == name]
        return found

    def artifacts(self, run: Run, folder: str | None = None) -> list[str]:
        found: list[str] = []
        for item in self.client.list_artifacts(run.info.run_id, folder):
            found += self.artifacts(run, item.path) if item.is_dir else [item.path]
        return found


class Whole:
    """A workspace in which the pipeline has run, and what the commands printed."""

    def __init__(self, made: Workspace) -> None:
        self.made, self.root = made, made.root
        self.first = made.dvc("repro")
        self.second: Done | None = None
        if self.first.code == 0:
            workspace.commit(made)
            self.second = made.dvc("repro")
            self.synced = made.run("sync")
            self.store = Store(made)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    found = Whole(workspace.create(tmp_path_factory.mktemp("end-to-end") / "project"))
    assert found.first.code == 0, found.first.text
    return found


def test_every_stage_of_the_pipeline_ran(whole: Whole) -> None:
    assert sorted(workspace.ran(whole.first)) == sorted(["resolve", *STAGES])
    assert sorted(whole.made.locked()) == sorted(["resolve", *STAGES])


def test_last_line_of_a_stage_names_its_mlflow_run(whole: Whole) -> None:
    said = [line for line in whole.first.text.splitlines() if ": done in " in line]
    assert len(said) == len(STAGES)
    for run in whole.store.role("stage"):
        # Where the tracker is slower than the stage's patience, the line gives the workbench's own id of the run.
        names = (run.info.run_id, run.data.tags["workbench.run"])
        assert any(name in line for line in said for name in names)


def test_second_repro_runs_nothing_but_resolve(whole: Whole) -> None:
    assert whole.second is not None
    assert whole.second.code == 0, whole.second.text
    assert workspace.ran(whole.second) == ["resolve"]
    assert sorted(workspace.skipped(whole.second)) == sorted(STAGES)
    assert whole.made.git("status", "--porcelain") == ""


def test_claim_says_that_all_is_as_committed(whole: Whole) -> None:
    done = whole.made.run("claim")
    assert done.code == 0, done.err
    assert f"all {len(STAGES)} stages are byte-identical to the committed dvc.lock" in done.out.splitlines()[-1]


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_metrics_that_dvc_and_git_know(whole: Whole, stage: str) -> None:
    (file,) = [out["path"] for out in whole.made.locked()[stage]["outs"] if out["path"].endswith(".json")]
    values = json.loads((whole.root / file).read_text(encoding="utf-8"))
    assert values
    assert all(isinstance(value, int | float) and math.isfinite(value) for value in values.values())
    assert whole.made.git("ls-files", file).strip() == file


def test_one_parent_and_one_nested_run_per_stage(whole: Whole) -> None:
    (parent,) = whole.store.role("session")
    assert parent.info.status == "FINISHED"
    stages = whole.store.role("stage")
    assert sorted(run.data.tags["workbench.stage"] for run in stages) == sorted(STAGES)
    assert {run.data.tags["mlflow.parentRunId"] for run in stages} == {parent.info.run_id}
    assert {run.info.status for run in stages} == {"FINISHED"}
    assert len(whole.store.runs) == len(STAGES) + 1


def test_sync_has_nothing_left_to_do(whole: Whole) -> None:
    assert whole.synced.code == 0, whole.synced.err
    assert "brought 0 sessions to the trackers" in whole.synced.out


@pytest.mark.parametrize("stage", STAGES)
def test_stage_run_has_params_metrics_inputs_and_something_to_look_at(whole: Whole, stage: str) -> None:
    run = whole.store.stage(stage)
    assert run.data.params
    assert run.data.metrics
    assert "mlflow.source.git.commit" in run.data.tags
    recorded = whole.made.locked()[stage]
    digests = {out["path"]: out.get("md5") for entry in whole.made.locked().values() for out in entry.get("outs", ())}
    inputs = {found.dataset.name: found.dataset.digest for found in run.inputs.dataset_inputs}
    assert set(inputs) == {dep["path"] for dep in recorded.get("deps", ())}
    assert all(digest == digests[path] for path, digest in inputs.items() if path in digests)
    files = [Path(name) for name in whole.store.artifacts(run) if Path(name).name not in RECORDS]
    assert [file for file in files if file.suffix in PREVIEWED]


@pytest.mark.parametrize("stage", ["pretrain", "sft", "align"])
def test_training_runs_have_a_loss_curve(whole: Whole, stage: str) -> None:
    history = whole.store.client.get_metric_history(whole.store.stage(stage).info.run_id, "loss")
    assert len(history) >= 2
    assert all(math.isfinite(point.value) for point in history)


def test_lineage_is_linked(whole: Whole) -> None:
    note = whole.store.stage("sft").data.tags["mlflow.note.content"]
    for neighbour in ("pretrain", "curate@instructions", "align"):
        assert f"/runs/{whole.store.stage(neighbour).info.run_id})" in note


def test_final_model_is_registered_as_candidate(whole: Whole) -> None:
    (model,) = whole.store.client.search_registered_models()
    version = whole.store.client.get_model_version_by_alias(model.name, "candidate")
    assert version.status == "READY"
    (out,) = [out for out in whole.made.locked()["align"]["outs"] if out["path"] == "data/models/aligned"]
    assert version.tags["workbench.digest"] == out["md5"]


def test_model_and_chat_template_generate_text(whole: Whole) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = whole.root / "data" / "models" / "aligned"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    question = [{"role": "user", "content": "What does `networkx.path_graph` do?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**prompt, max_new_tokens=8, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert 0 < len(answer) <= 8
    assert isinstance(tokenizer.decode(answer), str)


def test_training_stages_change_the_model(whole: Whole) -> None:
    weights = {name: (whole.root / f"data/models/{name}/model.safetensors").read_bytes() for name in MODELS}
    assert len(set(weights.values())) == 3


def test_document_ids_survive_from_curate_to_the_decisions_of_dedup(whole: Whole) -> None:
    def rows(path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = pq.read_table(whole.root / "data" / path).to_pylist()
        return found

    curated = rows("decisions/corpus")
    kept = {row["id"] for row in curated if row["kept"]}
    decided = {row["id"]: row for row in rows("decisions/dedup")}
    assert kept == {row["id"] for row in rows("curated/corpus")} == set(decided)
    assert [row for row in curated if not row["kept"]]
    for split in ("train", "heldout"):
        assert {row["id"] for row in rows(f"split/{split}")} == {
            key for key, row in decided.items() if row["kept"] and row["split"] == split
        }


class Loads(html.parser.HTMLParser):
    """Collects what a browser would load to show a page, links aside."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep addresses that are loaded without a click."""
        wanted = {"src", "srcset", "data", "poster", "xlink:href"} | ({"href"} if tag not in {"a", "area"} else set())
        self.found += [value for name, value in attrs if name in wanted and value and not value.startswith(("data:", "#"))]


def test_report_is_one_self_contained_page(whole: Whole) -> None:
    page = (whole.root / "data/report/index.html").read_text(encoding="utf-8")
    reader = Loads()
    reader.feed(page)
    assert reader.found == []
    assert "@import" not in page
    assert "url(http" not in page
    for text in (*MODELS, *TASKS, "networkx.path_graph"):
        assert text in page


def test_model_card_opens_with_metadata_that_parses(whole: Whole) -> None:
    card = (whole.root / "data/report/README.md").read_text(encoding="utf-8")
    _, matter, text = card.split("---\n", 2)
    content = yaml.safe_load(matter)
    assert content["license"] == "apache-2.0"
    assert content["library_name"] == "transformers"
    names = {result["dataset"]["name"] for result in content["model-index"][0]["results"]}
    assert names == set(TASKS)
    assert text.lstrip().startswith("# ")


WORDS = [
    "river",
    "stone",
    "evening",
    "window",
    "letter",
    "garden",
    "winter",
    "bridge",
    "morning",
    "silver",
    "market",
    "forest",
    "candle",
    "harbour",
    "story",
    "music",
]
"""Vocabulary of the test's own text."""


def write_texts(folder: Path) -> None:
    """A folder of text files about nothing, of paragraphs that repeat no five words of one another."""
    draw = random.Random(0)
    (folder / "more").mkdir(parents=True)
    for name in ("one.txt", "two.txt", "more/three.txt"):
        paragraphs = [" ".join(draw.choices(WORDS, k=60)).capitalize() + "." for _ in range(25)]
        (folder / name).write_text("\n\n".join(paragraphs) + "\n", encoding="utf-8")


@pytest.mark.slow
def test_text_of_ones_own_with_a_diff_of_params_only(tmp_path: Path) -> None:
    made = workspace.create(tmp_path / "project")
    write_texts(tmp_path / "texts")
    config = {"documents": 10, "stride": 32, "samples": 0, "baseline_documents": 10}
    made.params(
        curate__corpus={"use": "files", "with": {"path": str(tmp_path / "texts"), "max_characters": 500}},
        models=["base"],
        eval={"perplexity": {"use": "perplexity", "with": config}},
        tokenize__with__vocab_size=300,
    )
    done = made.repro("eval")
    assert "eval-perplexity@base" in workspace.ran(done)
    assert not {"sft", "align", "report"} & set(workspace.ran(done))
    values = json.loads((made.root / "data/metrics/eval-perplexity-base.json").read_text())
    assert 0 < values["bits_per_byte"] < 20
    assert values["documents"] > 0
    assert made.git("diff", "--name-only").split() == ["params.yaml"]
