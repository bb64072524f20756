"""The tracker, through the real journal, the real watcher and a real store."""

from __future__ import annotations

import json
import math
import os
import re
import sqlite3
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fake_dvc import Step, Workspace
from hypothesis import given
from hypothesis import strategies as st
from workbench_tracker_mlflow import description, history, recorded, tags
from workbench_tracker_mlflow.store import Store
from workbench_tracker_mlflow.tracker import MlflowTracker

from workbench import events
from workbench.artifacts import digests
from workbench.tracking import watcher

mlflow = pytest.importorskip("mlflow")

BASE = Step("pretrain", "pretrain", "causal", outputs={"out": "data/models/base"}, inputs=("data/corpus",), metrics={"loss": 2.0})
ALIGN = Step(
    "align", "align", "dpo", outputs={"out": "data/models/aligned"}, steps=1500, metrics={"accuracy": 0.75, "broken": math.nan}
)
EVAL = Step(
    "eval-perplexity@aligned",
    "eval",
    "perplexity",
    outputs={"out": "data/eval/p"},
    format="evaluation",
    metrics={"bits_per_byte": 1.5},
)
MANY = {f"{'one_of_many_' * 12}{number}.accuracy": number / 60 for number in range(60)}
"""More than one tag holds."""
CHOICE = replace(EVAL, name="eval-choice@aligned", outputs={"out": "data/eval/c"}, metrics={"accuracy": 0.5} | MANY)
STAGES = ["pretrain", "align", "eval-perplexity@aligned", "eval-choice@aligned"]


@dataclass
class Reader:
    """What MlflowClient finds in a workspace's store."""

    client: Any
    experiment: str

    def runs(self, **tags: str) -> list[Any]:
        text = " and ".join(f"tags.`workbench.{name}` = '{value}'" for name, value in tags.items())
        return list(self.client.search_runs([self.experiment], text, order_by=["attributes.start_time ASC"]))

    def run(self, stage: str) -> Any:
        (run,) = self.runs(stage=stage)
        return run

    def artifact(self, run: Any, path: str) -> Path:
        return Path(self.client.download_artifacts(run.info.run_id, path))

    def everything(self) -> dict[str, Any]:
        """All that must be the same after a replay."""
        found = {}
        for run in self.client.search_runs([self.experiment]):
            tags = dict(run.data.tags)
            history = {key: len(self.client.get_metric_history(run.info.run_id, key)) for key in run.data.metrics}
            inputs = self.client.get_run(run.info.run_id).inputs
            datasets = sorted((item.dataset.name, item.dataset.digest) for item in inputs.dataset_inputs)
            datasets += [("model", item.model_id) for item in inputs.model_inputs]
            found[run.info.run_id] = (
                run.info.status,
                run.info.end_time,
                tags,
                run.data.params,
                run.data.metrics,
                history,
                datasets,
            )
        traces = sorted(trace.info.trace_id for trace in self.client.search_traces(locations=[self.experiment]))
        scores = sum(len(trace.info.assessments) for trace in self.client.search_traces(locations=[self.experiment]))
        models = sorted(model.model_id for model in self.client.search_logged_models([self.experiment]))
        versions = [(version.version, version.source) for version in self.client.search_model_versions()]
        return {"runs": found, "traces": traces, "scores": scores, "models": models, "versions": versions}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Workspace:
    """Four sessions: one that trains, one that evaluates and is killed, one that continues it, one with nothing to do."""
    root = tmp_path_factory.mktemp("a space and ñ") / "w"
    paths = (checkout, checkout / "plugins/tracker-mlflow")
    made = Workspace.create(root, STAGES, paths, ["mlflow"])
    evaluation = replace(EVAL, inputs=("data/models/aligned",), seconds=0.9)
    choice = replace(CHOICE, inputs=("data/models/aligned",))
    assert made.repro(BASE, replace(ALIGN, inputs=("data/models/base",))) == 0
    assert made.repro(choice, replace(evaluation, ends="killed", run="r-first")) == 1
    assert made.repro(replace(evaluation, run="r-second")) == 0
    assert made.repro() == 0
    return made


@pytest.fixture(scope="module")
def store(workspace: Workspace) -> Reader:
    uri = f"sqlite:///{workspace.root / '.workbench/mlflow.db'}"
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    return Reader(client, client.get_experiment_by_name("workbench-default").experiment_id)


def test_a_parent_for_each_session_that_did_something(workspace: Workspace, store: Reader) -> None:
    parents = store.runs(role="session")
    assert [parent.info.status for parent in parents] == ["FINISHED", "KILLED", "FINISHED"]
    assert [run.info.status for run in store.runs(role="stage")] == ["FINISHED"] * len(STAGES)
    assert watcher.pending(workspace.root) == []
    assert len(list((workspace.root / ".workbench/journal").glob("[!.]*"))) == 3  # nothing is left of the last one
    last = parents[-1]
    assert store.run("eval-perplexity@aligned").data.tags["mlflow.parentRunId"] == last.info.run_id
    assert last.data.metrics["eval-perplexity/aligned/bits_per_byte"] == 1.5


def test_cached_stages_link_to_the_runs_that_made_them(store: Reader) -> None:
    note = store.runs(role="session")[-1].data.tags["mlflow.note.content"]
    rows = [line for line in note.splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[0] for row in rows] == [f"| {name}" for name in STAGES]
    for row, stage in zip(rows, STAGES, strict=True):
        assert f"(#/experiments/{store.experiment}/runs/{store.run(stage).info.run_id})" in row
    assert "cached: unchanged" in rows[0]
    assert "accuracy 0.75" in rows[1]


def test_a_session_tells_its_evaluations_in_the_order_of_the_pipeline(store: Reader) -> None:
    """The first one ran in it, the second came from the cache."""
    told = store.runs(role="session")[-1].data.tags["results"]
    assert told == "perplexity@aligned bits_per_byte 1.5; choice@aligned accuracy 0.5"


def test_results_that_are_longer_than_a_tag_are_whole(store: Reader) -> None:
    run = store.run("eval-choice@aligned")
    assert all(len(value) <= tags.LONGEST for value in run.data.tags.values())
    assert description.results_of(run) == {"accuracy": 0.5} | MANY


@given(st.lists(st.text(max_size=2_000), max_size=12), st.lists(st.text(max_size=2_000), max_size=12))
def test_a_value_in_parts_is_read_whole_whatever_was_there_before(before: list[str], value: list[str]) -> None:
    found = tags.as_json("workbench.x", before) | tags.as_json("workbench.x", value)
    assert tags.read_json(found, "workbench.x", None) == value
    assert all(len(part) <= tags.LONGEST for part in found.values())


def test_noise_is_that_of_runs_on_the_same_data_and_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracker = MlflowTracker(MlflowTracker.Config())
    tracker.open(tmp_path)
    runs = [("a", seed, "code") for seed in range(3)] + [("b", 3, "code"), ("a", 4, "other code")]
    for number, (data, seed, code) in enumerate(runs):
        lock = {"use": "trl", "config": {}, "seed": seed, "plugins": {"sft trl": code}}
        inputs = [events.Artifact("data", "data/x", "corpus", data * 32, 1, 1, {})]
        tracker.stage_started(
            events.StageStarted(
                run=f"r-{number}", time=float(number), session="s", stage="sft", entry="sft", kind="sft", plugin="trl", seed=seed,
                pid=1, process_started=0.0, config={}, lock=lock, inputs=inputs, fingerprint=str(number), machine={},
                command="", directory="",
            )
        )  # fmt: skip
        tracker.stage_finished(events.StageFinished(f"r-{number}", number + 0.5, {"loss": float(number)}, 0.5, 1))
    first = tracker.store.find({"workbench.run": "r-0"})[0].info.run_id
    assert recorded.circumstances(tracker.store, first).noise == {"loss": statistics.stdev([0.0, 1.0, 2.0])}


def test_a_stage_run_holds_params_metrics_and_lineage(store: Reader) -> None:
    run = store.run("align")
    assert run.info.run_name == "align · dpo"
    assert run.data.params == {"use": "dpo", "seed": "3", "with.learning_rate": "0.1", "with.api_key": "(redacted)"}
    history = store.client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(i, 1 / (i + 1)) for i in range(1500)]
    assert len(store.client.get_metric_history(run.info.run_id, "grad_norm")) == 1499
    assert run.data.tags["workbench.nonfinite"] == "grad_norm = nan at step 2; broken = nan"
    assert "broken" not in run.data.metrics
    (dataset,) = run.inputs.dataset_inputs
    maker = store.run("pretrain")
    digest = maker.data.tags["workbench.output.data/models/base"]
    assert (dataset.dataset.name, dataset.dataset.digest) == ("data/models/base", digest)
    assert f"/runs/{maker.info.run_id})" in run.data.tags["mlflow.note.content"]
    assert f"/runs/{run.info.run_id})" in store.run("pretrain").data.tags["mlflow.note.content"]
    assert "system/process_memory_megabytes" in store.run("eval-perplexity@aligned").data.metrics


def test_artifacts_are_of_kinds_that_the_ui_previews(store: Reader) -> None:
    run = store.run("align")
    names = {item.path for item in store.client.list_artifacts(run.info.run_id)}
    for folder in ("charts", "tables", "texts"):
        names |= {item.path for item in store.client.list_artifacts(run.info.run_id, folder)}
    assert {"charts/loss.png", "charts/sizes.png", "tables/examples.csv", "tables/examples.html", "tables/examples.json"} <= names
    assert {"texts/samples.md", "lock_entry.json", "machine.json", "params.yaml"} <= names
    assert all(re.search(r"\.(png|csv|html|json|md|yaml|txt)$", name) for name in names - {"charts", "tables", "texts"})
    assert store.artifact(run, "charts/loss.png").read_bytes().startswith(b"\x89PNG")
    assert "'=cmd()" in store.artifact(run, "tables/examples.csv").read_text()
    table = json.loads(store.artifact(run, "tables/examples.json").read_text())
    assert table == {"columns": ["text", "value"], "data": [["<script>alert(1)</script>", 1.5], ["=cmd()", None]]}
    assert {"path": "tables/examples.json", "type": "table"} in json.loads(run.data.tags["mlflow.loggedArtifacts"])


def test_hostile_text_is_inert(store: Reader) -> None:
    page = store.artifact(store.run("align"), "tables/examples.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "Content-Security-Policy" in page


def test_a_killed_run_is_continued_under_its_own_id(store: Reader) -> None:
    (run,) = store.runs(stage="eval-perplexity@aligned")
    assert run.data.tags["workbench.run"] == "r-first"
    assert run.info.status == "FINISHED"
    assert "workbench.error" not in run.data.tags
    killed_in = store.runs(role="session")[1].data.tags["mlflow.note.content"]
    assert f"KILLED, and [continued later](#/experiments/{store.experiment}/runs/{run.info.run_id})" in killed_in


def test_generations_are_traces_of_the_run(store: Reader) -> None:
    run = store.run("eval-perplexity@aligned")
    traces = store.client.search_traces(
        locations=[store.experiment], filter_string=f"metadata.`mlflow.sourceRun` = '{run.info.run_id}'"
    )
    assert len(traces) == 4  # two of the attempt that was killed
    best = next(trace for trace in traces if trace.info.assessments)
    (span,) = best.data.spans
    assert (span.inputs, span.outputs) == ({"prompt": "Say <hi>"}, {"output": "hi"})
    assert (best.info.execution_duration, best.info.token_usage["output_tokens"]) == (250, 1)
    assert best.info.assessments[0].value == 1.0


def test_models_are_logged_and_the_final_one_is_registered_with_its_bytes(workspace: Workspace, store: Reader) -> None:
    models = {model.name: model for model in store.client.search_logged_models([store.experiment])}
    assert models.keys() == {"base", "aligned"}
    version = store.client.get_model_version_by_alias("workbench-default", "candidate")
    digest = digests.of(workspace.root / "data/models/aligned")
    assert version.tags["workbench.digest"] == digest
    assert version.run_id == store.run("align").info.run_id
    copy = Path(mlflow.artifacts.download_artifacts(version.source, tracking_uri=store.client.tracking_uri))
    assert (copy / "config.json").read_bytes() == (workspace.root / "data/models/aligned/config.json").read_bytes()
    (used,) = [item.model_id for item in store.client.get_run(store.run("align").info.run_id).inputs.model_inputs]
    assert used == models["base"].model_id


def test_no_secret_reaches_the_store(workspace: Workspace) -> None:
    stored = [*(workspace.root / ".workbench/artifacts").rglob("*"), workspace.root / ".workbench/mlflow.db"]
    assert [file for file in stored if file.is_file() and b"canary" in file.read_bytes()] == []


def test_replaying_everything_changes_nothing(workspace: Workspace, store: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    before = store.everything()
    assert watcher.sync(workspace.root) == 0
    monkeypatch.chdir(workspace.root)
    assert watcher.replay(workspace.root) == 3
    assert json.dumps(store.everything(), indent=1, sort_keys=True) == json.dumps(before, indent=1, sort_keys=True)


def test_past_runs_are_the_same_without_mlflow(workspace: Workspace, store: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("kind", "plugin", "machine")
    asked = {tuple(run.data.tags[f"workbench.{name}"] for name in names) for run in store.runs(role="stage")}
    tracker = MlflowTracker(MlflowTracker.Config())

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("no such table: runs")

    with monkeypatch.context() as patch:
        patch.setattr(history, "past_runs", fail)
        quick = {key: tracker.past_runs(workspace.root, *key) for key in asked}
    assert any(quick.values())
    monkeypatch.setattr(history, "past_runs_of_file", fail)
    assert quick == {key: tracker.past_runs(workspace.root, *key) for key in asked}


def test_a_result_ends_the_curve_of_its_name(workspace: Workspace, store: Reader) -> None:
    """Written at step 0 it would be drawn as the curve's beginning."""
    history = store.client.get_metric_history(store.run("pretrain").info.run_id, "loss")
    assert [(point.step, point.value) for point in history][-2:] == [(4, 0.2), (4, 2.0)]
    assert history[0].step == 0
    assert [point.value for point in history if point.step == 0] == [1.0]


def test_the_ui_is_served_on_loopback_and_opens_the_runs(workspace: Workspace, store: Reader) -> None:
    tracker = MlflowTracker(MlflowTracker.Config())
    command = tracker.ui_command(workspace.root, 5123)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--backend-store-uri") + 1].endswith("/.workbench/mlflow.db")
    assert tracker.ui_address(workspace.root, 5123).startswith(f"http://127.0.0.1:5123/#/experiments/{store.experiment}/runs?")
    tags = store.client.get_experiment(store.experiment).tags
    assert "tags.`results`" in json.loads(tags["mlflow.sharedViewState.workbench"])["selectedColumns"]
    assert store.run("pretrain").data.tags["results"] == "loss 2"


def test_of_a_run_that_a_resent_request_has_made_twice_the_one_in_use_stays(
    workspace: Workspace, store: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # MLflow sets it, and this takes it back
    opened = Store(workspace.root, "workbench-default")
    wanted = {"workbench.run": "r-twice"}
    used, *others = (store.client.create_run(store.experiment, 0, wanted).info.run_id for _ in range(3))
    store.client.set_tag(used, "mlflow.note.content", "begun")
    for _ in range(2):
        found = opened.one(wanted)
        assert found is not None
        assert found.info.run_id == used
    assert {store.client.get_run(run).info.lifecycle_stage for run in others} == {"deleted"}
    store.client.delete_run(used)  # the other tests know nothing of it


def test_a_store_that_was_opened_is_not_that_of_another_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow sets the environment variable for all that the process starts afterwards."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    first, second = (Store(tmp_path / name, "some") for name in ("first", "second"))
    assert first.uri.endswith("first/.workbench/mlflow.db")
    assert second.uri.endswith("second/.workbench/mlflow.db")
    assert "MLFLOW_TRACKING_URI" not in os.environ
