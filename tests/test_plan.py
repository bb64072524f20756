"""``workbench plan`` and ``workbench why`` against what the ``dvc repro`` after them did."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import light_pipeline
import pytest
import workspace
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from workspace import Done, Workspace

from workbench.planning.begun import NOTHING_CHANGED

RUNS, RESTORED, UP_TO_DATE, IF_CHANGED = "runs", "restored from cache", "up to date", "runs if the bytes before it change"
ALL = ["resolve", "curate@corpus", "curate@other", "dedup", "eval@first", "report"]


@dataclass(frozen=True)
class Edit:
    """A change of the workspace, and what the plan must say of it."""

    change: Callable[[Workspace], None]
    answers: Mapping[str, str]
    """Of the stages that are not up to date."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Words that a stage's reasons must hold."""

    @property
    def name(self) -> str:
        return self.change.__name__.strip("_")


def site(made: Workspace, name: str) -> Path:
    return made.root.parent / "site" / f"stranger_{name}" / "__init__.py"


def rewrite(file: Path, old: str, new: str) -> None:
    content = file.read_text()
    assert content.count(old) == 1, f"{old!r} stands {content.count(old)} times in {file}"
    file.write_text(content.replace(old, new))


def parameter(made: Workspace) -> None:
    made.params(dedup__with__words=9)


def parameter_reverted(made: Workspace) -> None:
    made.params(dedup__with__words=2)


def default_written_out(made: Workspace) -> None:
    made.params(dedup__with__heldout=0.05, curate__corpus__with__upper=False)


def comment(made: Workspace) -> None:
    rewrite(site(made, "short"), "        return ", "        # Long is what is longer.\n        return ")


def docstring(made: Workspace) -> None:
    rewrite(site(made, "lines"), '"""A document per line of a file."""', '"""One document per line."""')


def code_with_effect(made: Workspace) -> None:
    rewrite(site(made, "short"), "> self.config.limit", "> self.config.limit - 40")


def code_without_effect(made: Workspace) -> None:
    rewrite(site(made, "short"), "> self.config.limit", ">= 1 + self.config.limit")


def dependency_version(made: Workspace) -> None:
    light_pipeline.require(made.root.parent / "site", "1.1")


def input_data(made: Workspace) -> None:
    rewrite(made.root / "raw" / "corpus.txt", "the end", "this is the end")


def input_data_reverted(made: Workspace) -> None:
    rewrite(made.root / "raw" / "corpus.txt", "this is the end", "the end")


def model_edited(made: Workspace) -> None:
    (made.root / "raw" / "model" / "config.json").write_text('{"a": 1}')


def output_deleted(made: Workspace) -> None:
    shutil.rmtree(made.root / "data" / "split" / "train")


def output_edited(made: Workspace) -> None:
    file = made.root / "data" / "report" / "page.txt"
    file.unlink()
    file.write_text("all is well")


def metrics_deleted(made: Workspace) -> None:
    (made.root / "data" / "metrics" / "eval-first.json").unlink()


def cache_object_removed(made: Workspace) -> None:
    uncache(made, "dedup", "data/split/heldout")


def output_lost(made: Workspace) -> None:
    """As in a clone that has dvc.lock and no data."""
    uncache(made, "report", "data/report")
    shutil.rmtree(made.root / "data" / "report")


def uncache(made: Workspace, stage: str, path: str) -> None:
    digest = next(out["md5"] for out in made.locked()[stage]["outs"] if out["path"] == path)
    (made.root / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]).unlink()


def plugin_swapped(made: Workspace) -> None:
    made.params(dedup__use="lighter")


def command_changed(made: Workspace) -> None:
    file = made.root / "dvc.yaml"
    file.write_text(file.read_text().replace("data/metrics/eval-${key}.json", "data/metrics/${key}-results.json"))


def command_reverted(made: Workspace) -> None:
    file = made.root / "dvc.yaml"
    file.write_text(file.read_text().replace("data/metrics/${key}-results.json", "data/metrics/eval-${key}.json"))


def seed(made: Workspace) -> None:
    made.params(report__seed=7)


def core_kind(made: Workspace) -> None:
    made.replace("workbench/kinds/dedup.py", "labels.size == 0", "len(labels) == 0")


def evaluation_added(made: Workspace) -> None:
    made.edit("params.yaml", lambda content: content["eval"].update(second={"use": "count", "with": {"scale": 2.0}, "seed": 0}))


def evaluation_removed(made: Workspace) -> None:
    made.edit("params.yaml", lambda content: content["eval"].pop("second"))


def lock_deleted(made: Workspace) -> None:
    (made.root / "dvc.lock").unlink()


def code_kept_by_policy(made: Workspace) -> None:
    made.params(report__rerun="warn")
    rewrite(site(made, "list"), '"\\n".join', '"\\n\\n".join')


AFTER_DEDUP = {"eval@first": IF_CHANGED, "report": IF_CHANGED}
EDITS = [
    Edit(parameter, {"dedup": RUNS, **AFTER_DEDUP}, {"dedup": "words 2 → 9", "eval@first": "dedup may change what it reads"}),
    Edit(parameter_reverted, {"dedup": RESTORED, "report": RESTORED}, {"dedup": "words 9 → 2"}),
    Edit(default_written_out, {}),
    Edit(comment, {}),
    Edit(docstring, {}),
    Edit(
        code_with_effect,
        {"curate@corpus": RUNS, "dedup": IF_CHANGED, **AFTER_DEDUP},
        {"curate@corpus": "the code of filter short changed"},
    ),
    Edit(code_without_effect, {"curate@corpus": RUNS, "dedup": IF_CHANGED, **AFTER_DEDUP}),
    Edit(
        dependency_version,
        {"curate@corpus": RUNS, "dedup": IF_CHANGED, **AFTER_DEDUP},
        {"curate@corpus": "stranger-math 1.0 → 1.1"},
    ),
    Edit(
        input_data,
        {"curate@corpus": RUNS, "dedup": IF_CHANGED, **AFTER_DEDUP},
        {"curate@corpus": "raw/corpus.txt changed"},
    ),
    Edit(
        input_data_reverted,
        {"curate@corpus": RESTORED, "dedup": RESTORED, "eval@first": RESTORED, "report": RESTORED},
        {"dedup": "data/curated/corpus changes: curate@corpus comes from the cache"},
    ),
    Edit(model_edited, {"eval@first": RUNS, "report": IF_CHANGED}, {"eval@first": "raw/model changed"}),
    Edit(output_deleted, {"dedup": RESTORED}, {"dedup": "data/split/train is missing"}),
    Edit(output_edited, {"report": RESTORED}, {"report": "data/report is changed by hand"}),
    Edit(metrics_deleted, {"eval@first": RESTORED}, {"eval@first": "data/metrics/eval-first.json is missing"}),
    Edit(
        cache_object_removed,
        {"dedup": RUNS, **AFTER_DEDUP},
        {"dedup": "data/split/heldout is missing in the cache"},
    ),
    Edit(output_lost, {"report": RUNS}, {"report": "data/report is missing"}),
    Edit(plugin_swapped, {"dedup": RUNS, **AFTER_DEDUP}, {"dedup": "plugin light → lighter"}),
    Edit(
        command_changed,
        {"eval@first": RUNS, "report": IF_CHANGED},
        {"eval@first": "--metrics data/metrics/eval-first.json → data/metrics/first-results.json"},
    ),
    Edit(seed, {"report": RUNS}, {"report": "seed 0 → 7"}),
    Edit(core_kind, {"dedup": RUNS, **AFTER_DEDUP}, {"dedup": "the core's part of dedup lighter changed"}),
    Edit(command_reverted, {"eval@first": RESTORED}),  # the other metrics file stays where it is
    Edit(
        evaluation_added,
        {"eval@second": RUNS, "report": IF_CHANGED},
        {"eval@second": "it has never run"},
    ),
    Edit(evaluation_removed, {}),
    Edit(
        lock_deleted,
        {"curate@corpus": RESTORED, "curate@other": RESTORED, "dedup": RESTORED, "eval@first": RESTORED, "report": RESTORED},
        {"dedup": "it has never run"},
    ),
    Edit(code_kept_by_policy, {}, {"report": "`rerun: warn` keeps its result although the code of report list has moved"}),
]
QUICK = (parameter, parameter_reverted, default_written_out, code_with_effect, output_deleted, output_lost, code_kept_by_policy)
"""The edits that `make test` makes, too."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = light_pipeline.create(tmp_path_factory.mktemp("light"))
    first = plan(made)
    assert {stage: record["answer"] for stage, record in first.items()} == dict.fromkeys(ALL, RUNS)
    assert {"; ".join(record["reasons"]) for record in first.values()} == {"it has never run", "it runs every time"}
    made.repro()
    return made


def plan(made: Workspace, *words: str) -> dict[str, Any]:
    """Stage → record."""
    done = made.run("plan", "--json", *words)
    assert done.code == 0, done.text
    return {record["stage"]: record for record in json.loads(done.out)}


def why(made: Workspace, stage: str) -> list[str]:
    """Its lines."""
    done = made.run("why", stage)
    assert done.code == 0, done.text
    return done.out.splitlines()


def did(done: Done) -> dict[str, str]:
    """What a ``dvc repro`` did with each stage."""
    found = dict.fromkeys(workspace.ran(done), RUNS)
    found |= dict.fromkeys(workspace.restored(done), RESTORED)
    return {**found, **dict.fromkeys(workspace.skipped(done), UP_TO_DATE)}


@pytest.mark.parametrize(
    "edit", [pytest.param(edit, id=edit.name, marks=[] if edit.change in QUICK else [pytest.mark.slow]) for edit in EDITS]
)
def test_plan_says_what_the_repro_then_does(made: Workspace, edit: Edit) -> None:
    """The edits follow upon one another."""
    edit.change(made)
    lock, read = (made.root / "plugins-lock.json").read_bytes(), _read(made)
    foretold = plan(made)
    assert (made.root / "plugins-lock.json").read_bytes() == lock
    answers = {stage: record["answer"] for stage, record in foretold.items()}
    assert answers == {stage: edit.answers.get(stage, UP_TO_DATE) for stage in foretold} | {"resolve": RUNS}
    for stage, words in edit.reasons.items():
        assert words in "; ".join(foretold[stage]["reasons"])
    done = did(made.repro())
    assert sorted(foretold) == sorted(done)
    reads_other = {stage for stage, digests in _read(made).items() if read.get(stage) != digests}
    for stage, answer in answers.items():
        expected = answer if answer != IF_CHANGED else RUNS if stage in reads_other else UP_TO_DATE
        assert done[stage] == expected, f"{stage}: {answer}, and {done[stage]}"
    told = _started(made)
    for stage in [stage for stage, happened in done.items() if happened == RUNS and stage != "resolve"]:
        if edit.change is cache_object_removed and stage == "dedup":
            assert told[stage] == [NOTHING_CHANGED]
        elif answers[stage] == IF_CHANGED:
            assert [reason for reason in told[stage] if reason.startswith("data/") and reason.endswith(" changed")], stage
        else:
            assert told[stage]
            assert edit.reasons.get(stage, "") in "; ".join(told[stage])


def _started(made: Workspace) -> dict[str, list[str]]:
    """What every stage of the newest session said of why it ran."""
    newest = max((made.root / ".workbench" / "journal").glob("[!.]*"), key=lambda folder: folder.stat().st_mtime)
    lines = [line for file in newest.glob("[!_]*.jsonl") for line in file.read_text().splitlines()]
    started = [event for event in map(json.loads, lines) if event["type"] == "StageStarted"]
    return {event["stage"]: event["reasons"] for event in started}


def _read(made: Workspace) -> dict[str, list[tuple[str, str]]]:
    """Stage → hashes of what it read, from dvc.lock."""
    if not (made.root / "dvc.lock").exists():
        return {}
    return {stage: [(dep["path"], dep["md5"]) for dep in body.get("deps", ())] for stage, body in made.locked().items()}


def test_why_goes_back_to_the_cause(made: Workspace) -> None:
    made.params(dedup__with__words=3)
    lines = why(made, "eval@first")
    assert lines[:4] == [
        "eval@first: runs if the bytes before it change",
        "  - dedup may change what it reads",
        "  dedup: runs",
        "    - words 2 → 3",
    ]
    done = made.run("why", "report", "--json")
    assert [record["stage"] for record in json.loads(done.out)["because"]] == ["dedup", "eval@first"]
    assert why(made, "curate@other") == [
        "curate@other: up to date",
        "  - all that decides its result is as it was when it was made",
    ]
    made.params(dedup__with__words=2)


def test_plan_of_a_target_leaves_out_what_it_does_not_need(made: Workspace) -> None:
    assert list(plan(made, "dedup")) == ["resolve", "curate@corpus", "dedup"]


def test_a_group_of_stages_is_refused_with_their_names(made: Workspace) -> None:
    done = made.run("why", "curate")
    assert done.code == 1
    assert "'curate' is not one stage" in done.err
    assert "curate@corpus" in done.err


def test_unknown_stage_and_a_folder_without_dvc_are_refused(made: Workspace, tmp_path: Path) -> None:
    done = made.run("why", "nothing")
    assert done.code == 1
    assert "Traceback" not in done.err
    assert "no such stage: nothing" in done.err
    assert "curate@corpus, curate@other, dedup" in done.err
    bare = Workspace(tmp_path / "bare", made.variables)
    shutil.copytree(made.root, bare.root, ignore=shutil.ignore_patterns(".dvc"))
    done = bare.run("plan")
    assert done.code == 1
    assert "Traceback" not in done.err
    assert "DVC cannot read the pipeline" in done.err


@pytest.mark.slow
def test_plan_and_a_partial_repro_see_bytes_that_were_made_since(tmp_path: Path) -> None:
    made = light_pipeline.create(tmp_path)
    made.repro()
    made.params(dedup__with__words=9)
    made.repro("dedup")
    found = plan(made)
    assert found["dedup"]["answer"] == UP_TO_DATE
    assert found["report"]["reasons"] == ["data/decisions changed", "data/metrics changed"]
    done = did(made.repro())
    assert done["report"] == found["report"]["answer"]


def test_group_of_stages_is_planned_as_its_members_are(made: Workspace) -> None:
    assert plan(made, "eval") == plan(made, "eval@first")
    assert plan(made, "curate") == plan(made, "curate@corpus", "curate@other")


def test_dvc_takes_no_file_that_a_session_has_kept_for_a_pipeline(made: Workspace) -> None:
    assert list(made.root.glob(".workbench/journal/*/files/dvc.yaml.txt"))
    listed = made.dvc("stage", "list", "--all", "--name-only")
    assert sorted(listed.out.split()) == sorted(ALL)


@pytest.mark.slow
def test_estimate_that_fails_is_told_and_stops_neither_plan_nor_stage(tmp_path: Path) -> None:
    made = light_pipeline.create(tmp_path)
    rewrite(site(made, "lines"), "return Estimate(", "raise OSError('no such disk')\n        return Estimate(")
    found = plan(made)
    assert found["curate@corpus"]["problem"] == "its plugin's estimate failed: OSError: no such disk"
    assert found["curate@corpus"]["answer"] == RUNS
    done = made.repro("curate@corpus")
    assert "its estimate failed: OSError: no such disk" in done.err


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = light_pipeline.create(tmp_path_factory.mktemp("tracked"), trackers=("mlflow",))
    made.params(curate__corpus__with__pause=0.4)
    first = plan(made)["curate@corpus"]
    assert first["estimate"]["past_runs"] == 0
    assert first["estimate"]["seconds"] is None
    assert (first["estimate"]["work"], first["estimate"]["unit"]) == (5, "documents")
    made.repro("curate@corpus", "dedup")
    return made


def run_of(made: Workspace, stage: str) -> Run:
    """The stage's newest run."""
    client = MlflowClient(tracking_uri=f"sqlite:///{made.root / '.workbench' / 'mlflow.db'}")
    experiments = [found.experiment_id for found in client.search_experiments()]
    order = ["attributes.start_time DESC"]
    return client.search_runs(experiments, f"tags.`workbench.stage` = '{stage}'", max_results=1, order_by=order)[0]


@pytest.mark.slow
def test_cause_is_known_after_a_repro_that_failed(tracked: Workspace) -> None:
    rewrite(site(tracked, "light"), "        rows = list(", "        raise OSError('the end')\n        rows = list(")
    assert tracked.dvc("repro", "dedup").code != 0
    rewrite(site(tracked, "light"), "raise OSError('the end')", "assert True")
    assert why(tracked, "dedup") == ["dedup: runs", "  - the code of dedup light changed"]


@pytest.mark.slow
def test_plan_learns_from_a_run_and_the_next_run_shows_prediction_beside_time(tracked: Workspace) -> None:
    file = tracked.root / "raw" / "corpus.txt"
    file.write_text("".join(f"{number} is a line\n" for number in range(15)))
    found = plan(tracked)["curate@corpus"]["estimate"]
    assert found["past_runs"] == 1
    assert found["memory"] > 30e6  # the process beside the million bytes of the estimate
    tracked.repro("curate@corpus")
    metrics = run_of(tracked, "curate@corpus").data.metrics
    assert metrics["system/cost_predicted_seconds"] == pytest.approx(found["seconds"])
    assert metrics["system/cost_seconds"] > 15 * 0.4
    assert 0 < metrics["system/cost_startup_seconds"] < metrics["system/cost_seconds"]


@pytest.mark.slow
def test_runs_on_another_machine_teach_nothing(tracked: Workspace) -> None:
    rewrite(tracked.root / "compute.yaml", "threads: 1", "threads: 2")
    tracked.params(curate__corpus__seed=3)
    done = tracked.run("plan", "curate@corpus")
    assert "uncalibrated, 15 documents, 1 MB" in done.out
    assert "their time is unknown until each plugin has run once on this machine" in done.out
