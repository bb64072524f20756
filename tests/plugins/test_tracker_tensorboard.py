"""The tracker, through the real journal and the real watcher, read back as TensorBoard itself reads."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_dvc
import mlflow
import plugin_project
import pytest
import workspace
import yaml
from fake_dvc import Step
from ports import free_port
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tiny_model import texts
from workbench_tracker_tensorboard.event_log import EventLog
from workbench_tracker_tensorboard.tracker import TensorboardTracker

from workbench.tracking import watcher

PRETRAIN = Step("pretrain", "pretrain", "causal", outputs={"out": "data/models/base"}, steps=1500, metrics={"loss": 2.0})
EVAL = Step(
    "eval-perplexity@base",
    "eval",
    "perplexity",
    inputs=("data/models/base",),
    outputs={"out": "data/evals/p"},
    format="evaluation",
    metrics={"bits_per_byte": 1.5},
)
SFT = Step("sft", ends="failed")
FOLDER = ".workbench/tensorboard"
PLUGINS = ("tracker-tensorboard", "tokenizer-unigram", "pretrain-ngram")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Path:
    """The plugins as installed distributions."""
    folder = tmp_path_factory.mktemp("site")
    for name in PLUGINS:
        plugin_project.install_folder(folder, checkout / "plugins" / name)
    return folder


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, checkout: Path, site: Path) -> fake_dvc.Workspace:
    """Three sessions: one whose evaluation is killed, one that continues it, one whose stage fails."""
    root = tmp_path_factory.mktemp("a space and ñ") / "w"
    made = fake_dvc.Workspace.create(root, ["pretrain", "eval-perplexity@base", "sft"], (checkout, site), ["tensorboard"])
    assert made.repro(PRETRAIN, replace(EVAL, ends="killed", run="r-first", seconds=0.9)) == 1
    assert made.repro(replace(EVAL, run="r-second")) == 0
    assert made.repro(SFT) == 1
    assert watcher.pending(root) == []
    return made


def folders(root: Path, group: str) -> list[Path]:
    return sorted((root / FOLDER / group).iterdir())


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    return accumulator.Reload()


def points(accumulator: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.tensor_proto.float_val[0]) for event in accumulator.Tensors(tag)]


def written(accumulator: EventAccumulator, tag: str) -> list[str]:
    return [event.tensor_proto.string_val[0].decode() for event in accumulator.Tensors(tag)]


def hparams(accumulator: EventAccumulator) -> dict[str, Any]:
    content = accumulator.SummaryMetadata(hparams_metadata.SESSION_START_INFO_TAG).plugin_data.content
    info = hparams_metadata.parse_session_start_info_plugin_data(content)
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in info.hparams.items()}


def status(accumulator: EventAccumulator) -> int:
    content = accumulator.SummaryMetadata(hparams_metadata.SESSION_END_INFO_TAG).plugin_data.content
    return int(hparams_metadata.parse_session_end_info_plugin_data(content).status)


def test_a_stage_holds_params_curves_results_and_charts(told: fake_dvc.Workspace) -> None:
    (folder,) = folders(told.root, "pretrain")
    run = read(folder)
    assert hparams(run) == {"use": "causal", "seed": 3, "with.learning_rate": 0.1, "with.api_key": "(redacted)"}
    assert dict(points(run, "loss")) == pytest.approx({i: 1 / (i + 1) for i in range(1500)})
    assert math.isnan(points(run, "grad_norm")[2][1])
    assert "| loss | 2 |" in written(run, "results")[0]
    assert points(run, "charts/loss/train") == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert "charts/sizes/kept" not in run.Tags()["tensors"]  # its x is no number
    assert "| b | 2 |" in written(run, "charts/sizes")[0]
    assert "| text | value |" in written(run, "tables/examples")[0]
    assert written(run, "texts/samples") == ["# Samples"]
    assert written(run, "alerts/not-finite") == [r"grad\_norm is &lt;nan&gt; at step 2, token=(redacted)"]
    assert "data/models/base" in written(run, "outputs/hashes")[0]
    assert status(run) == 1  # success


def test_hostile_text_is_inert(told: fake_dvc.Workspace) -> None:
    from tensorboard import plugin_util

    (shown,) = written(read(folders(told.root, "pretrain")[0]), "tables/examples")
    assert "<script" not in shown
    page = plugin_util.markdown_to_safe_html(shown)
    assert "<table>" in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_killed_run_is_continued_in_its_folder(told: fake_dvc.Workspace) -> None:
    (folder,) = folders(told.root, "eval-perplexity@base")
    assert folder.name.endswith("-r-first")
    run = read(folder)
    assert [step for step, _ in points(run, "loss")] == [0, 1, 2, 3, 4]  # told twice
    assert len(written(run, "generations")) == 4  # two of the attempt that was killed
    assert "KILLED" in written(run, "error")[0]
    assert status(run) == 1
    assert written(read(folders(told.root, "sessions")[0]), "status") == ["KILLED"]


def test_a_failed_stage_says_why_without_secrets(told: fake_dvc.Workspace) -> None:
    run = read(folders(told.root, "sft")[0])
    assert status(run) == 2  # failure
    assert written(run, "error") == ["```\nFAILED: no room\n\nTraceback: token=(redacted)\n```"]
    files = [file for file in (told.root / FOLDER).rglob("*") if file.is_file()]
    assert [file for file in files if b"canary" in file.read_bytes()] == []


def test_a_session_holds_params_and_what_was_cached(told: fake_dvc.Workspace) -> None:
    session = read(folders(told.root, "sessions")[-1])
    assert "sft: {use: trl}" in written(session, "files/params.yaml")[0]
    assert "unchanged" in written(session, "restored/pretrain")[0]
    assert written(session, "status") == ["FAILED"]


def test_replaying_everything_writes_nothing(told: fake_dvc.Workspace, site: Path) -> None:
    before = {file: file.read_bytes() for file in (told.root / FOLDER).rglob("*") if file.is_file()}
    assert sync(told, "--again") == "brought 3 sessions to the trackers\n"
    assert {file: file.read_bytes() for file in (told.root / FOLDER).rglob("*") if file.is_file()} == before


def test_a_lost_store_is_filled_again(told: fake_dvc.Workspace, tmp_path: Path) -> None:
    (told.root / FOLDER).rename(tmp_path / "lost")
    try:
        assert sync(told) == "brought 0 sessions to the trackers\n"
        assert not (told.root / FOLDER).exists()
        assert sync(told, "--again") == "brought 3 sessions to the trackers\n"
        for stage in ("pretrain", "eval-perplexity@base", "sft"):
            (new,), (old,) = folders(told.root, stage), sorted((tmp_path / "lost" / stage).iterdir())
            assert read(new).Tags() == read(old).Tags()
            assert hparams(read(new)) == hparams(read(old))
    finally:
        shutil.rmtree(told.root / FOLDER, ignore_errors=True)
        (tmp_path / "lost").rename(told.root / FOLDER)


def sync(told: fake_dvc.Workspace, *words: str) -> str:
    """What ``workbench sync`` says."""
    command = [sys.executable, "-m", "workbench", "sync", *words]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, told.pythonpath))}
    return subprocess.run(command, cwd=told.root, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_a_real_pipeline_is_in_both_trackers(tmp_path: Path, checkout: Path, site: Path) -> None:
    """Text files, a unigram tokenizer and an n-gram model, all of them second implementations, run by DVC."""
    root = tmp_path / "w"
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    (root / "texts").mkdir()
    for number, text in enumerate(texts(40)):
        (root / f"texts/{number}.txt").write_text(text)
    stages = ("curate", "tokenize", "pretrain")
    pipeline = yaml.safe_load((checkout / "dvc.yaml").read_text())["stages"]
    content = {"stages": {name: pipeline[name] for name in ("resolve", *stages)}}
    (root / "dvc.yaml").write_text(json.dumps(content).replace("data/split/train", "data/curated/corpus"))
    source = {"use": "files", "with": {"path": "texts", "produces": "corpus"}, "seed": 0}
    params = {
        "curate": {"corpus": source},
        "tokenize": {"use": "unigram", "with": {"vocab_size": 300}, "seed": 0},
        "pretrain": {"use": "ngram", "with": {"order": 3}, "seed": 0},
    }
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    (root / "compute.yaml").write_text(yaml.safe_dump({"threads": 1, "trackers": ["mlflow", "tensorboard"]}))
    made = workspace.Workspace.at(root, PYTHONPATH=os.pathsep.join([str(site), str(checkout)]))
    made.repro()
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{root / '.workbench/mlflow.db'}")
    experiment = client.get_experiment_by_name("workbench-default").experiment_id
    for stage, plugin in (("curate@corpus", "files"), ("tokenize", "unigram"), ("pretrain", "ngram")):
        (run,) = client.search_runs([experiment], f"tags.`workbench.stage` = '{stage}'")
        (folder,) = folders(root, stage)
        seen = read(folder)
        assert hparams(seen)["use"] == run.data.params["use"] == plugin
        results = json.loads(run.data.tags["workbench.results"])
        assert results
        for name, value in results.items():
            assert points(seen, f"results/{name}")[-1][1] == pytest.approx(value)
    assert hparams(read(folders(root, "pretrain")[0]))["with.order"] == 3
    assert "estimate\\_1" in written(read(folders(root, "pretrain")[0]), "tables/orders")[0]


def test_what_a_crash_tore_is_written_again_and_nothing_else(tmp_path: Path) -> None:
    def write() -> None:
        log = EventLog(tmp_path)
        for step in range(10):
            log.scalar("loss", step, 1.0 + step, step)
        log.text("note", "once", 20.0)
        log.close()

    write()
    (file,) = tmp_path.iterdir()
    os.truncate(file, file.stat().st_size - 5)  # within the note
    write()
    write()
    assert len(list(tmp_path.iterdir())) == 2
    found = read(tmp_path)
    assert points(found, "loss") == [(step, float(step)) for step in range(10)]
    assert written(found, "note") == ["once"]


def test_its_own_server_shows_the_runs(told: fake_dvc.Workspace) -> None:
    port = free_port()
    tracker = TensorboardTracker(TensorboardTracker.Config())
    address = tracker.ui_address(told.root, port)
    with subprocess.Popen(tracker.ui_command(told.root, port), stderr=subprocess.DEVNULL, start_new_session=True) as server:
        try:
            shown = ask(f"{address}data/plugin/scalars/tags")
            assert "results/bits_per_byte" in next(tags for run, tags in shown.items() if run.endswith("r-first"))
            statuses = ["STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_UNKNOWN"]
            wanted = {"experimentName": "", "allowedStatuses": statuses, "colParams": [], "sliceSize": 10}
            groups = ask(f"{address}data/plugin/hparams/session_groups", wanted)
            assert len(groups["sessionGroups"]) == 3
        finally:
            os.killpg(server.pid, signal.SIGTERM)


def ask(address: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the server answers once it has read the files."""
    data = None if body is None else json.dumps(body).encode()
    answer: dict[str, Any] = {}
    for _ in range(150):
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=5) as response:
                answer = json.load(response)
            if len(answer.get("sessionGroups", answer)) >= 3:
                return answer
        time.sleep(0.2)
    raise AssertionError(answer)


def test_the_watcher_needs_no_torch() -> None:
    script = (
        "import sys, workbench_tracker_tensorboard; light = set(sys.modules) & {'tensorboard', 'numpy'}\n"
        "import workbench_tracker_tensorboard.event_log; print(light, set(sys.modules) & {'torch', 'tensorflow'})"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    shown = subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True).stdout
    assert shown == "set() set()\n"
