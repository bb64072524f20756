"""``workbench compare``: of revisions, the workspace and runs of the store, with intervals where there are examples."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import light_pipeline
import plugin_project
import pytest
import workspace
import yaml
from test_reproduce import Store, in_git
from workspace import Workspace

from workbench.artifacts import evaluation
from workbench.artifacts.evaluation import Evaluation
from workbench.comparison import scores
from workbench.comparison.compare import compare
from workbench.comparison.scores import ScoreChange

BY_WORD = (
    '[{"id": row["id"], "group": "all", "score": self.config.scale * len(row["text"]) + bias} for row in rows]',
    """[
            {"id": str(i), "group": str(i), "score": self.config.scale * len(word) + bias}
            for row in rows
            for i, word in enumerate(row["text"].split())
        ]""",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A commit whose results are known, and a workspace with a greater scale and another seed."""
    made = in_git(tmp_path_factory.mktemp("compare"))
    plugin_project.install(made.root.parent / "site", "stranger-count", plugin_project.stranger("count", BY_WORD))
    with (made.root / "raw" / "corpus.txt").open("a") as file:
        file.write("of several words the last line\n")
    made.repro()
    workspace.commit(made)
    made.params(eval__first__with__scale=3.0)
    made.repro()
    return made


def test_a_revision_and_the_workspace(made: Workspace) -> None:
    done = made.run("compare")
    assert done.code == 0, done.text
    assert "A  HEAD (" in done.out
    assert "eval@first: scale 1 → 3" in done.out
    assert "the same in both: curate@corpus, curate@other, dedup" in done.out
    (line,) = [line for line in done.out.splitlines() if line.endswith(" better")]
    assert line.endswith("6 examples  better")
    lengths = [len(word) for word in ("of", "several", "words", "the", "last", "line")]
    assert f"{2 * sum(lengths) / 6:+.4g} [" in line


@pytest.fixture
def edited(made: Workspace) -> Iterator[Workspace]:
    """The workspace, whose files are put back afterwards."""
    kept = {name: (made.root / name).read_text(encoding="utf-8") for name in ("params.yaml", "dvc.yaml")}
    yield made
    for name, text in kept.items():
        (made.root / name).write_text(text, encoding="utf-8")


def test_results_from_before_an_edit_are_stale_and_not_the_same(edited: Workspace) -> None:
    edited.params(dedup__with__words=3)
    done = edited.run("compare")
    assert done.code == 0, done.text
    assert "dedup: B: words 2 → 3" in done.out
    assert "eval@first: B: dedup may change what it reads" in done.out
    (same,) = [line for line in done.out.splitlines() if line.startswith("the same in both: ")]
    assert same == "the same in both: curate@corpus, curate@other"
    record = json.loads(edited.run("compare", "--json").out)
    assert {stage["stage"]: stage["stale"] for stage in record["stages"]}["dedup"] == ["B: words 2 → 3"]
    edited.run("compare", "HEAD", "workspace", "--html", str(edited.root / "data" / "page.html"))
    assert "words 2 → 3" in (edited.root / "data" / "page.html").read_text()


def test_an_evaluation_that_the_pipeline_no_longer_has_is_stale(edited: Workspace) -> None:
    for name in ("params.yaml", "dvc.yaml"):
        edited.edit(name, lambda content: content.get("stages", content).pop("eval"))
    done = edited.run("compare")
    assert done.code == 0, done.text
    assert "eval@first: B: dvc.yaml no longer has it" in done.out
    head = edited.git("rev-parse", "HEAD").strip()
    workspace.commit(edited)
    try:
        done = edited.run("compare", "HEAD", head)
        assert done.code == 0, done.text
        assert "eval@first: A: dvc.yaml no longer has it" in done.out
    finally:
        edited.git("reset", "--quiet", "--soft", head)


def test_a_pipeline_that_cannot_be_checked_leaves_it_open_what_is_stale(edited: Workspace) -> None:
    edited.params(dedup__use="no-such-plugin")
    done = edited.run("compare")
    assert done.code == 0, done.text
    assert "whether results are stale is not known of B: " in done.out
    assert "eval@first: scale 1 → 3" in done.out


@pytest.mark.slow
def test_an_experiment_of_dvc(made: Workspace) -> None:
    saved = made.dvc("exp", "save", "--name", "wider")
    assert saved.code == 0, saved.text
    done = made.run("compare", "HEAD", "wider")
    assert done.code == 0, done.text
    assert "B  wider (" in done.out
    assert "eval@first: scale 1 → 3" in done.out
    assert "examples  better" in done.out


def test_two_runs_of_the_store(made: Workspace) -> None:
    store = Store(made)
    new, old = [run.info.run_id for run in store.runs() if run.data.tags.get("workbench.stage") == "eval@first"]
    done = made.run("compare", old, new, "--json")
    assert done.code == 0, done.text
    record = json.loads(done.out)
    (stage,) = record["stages"]
    assert (stage["stage"], stage["verdict"], stage["config"]) == ("eval@first", "better", ["scale 1 → 3"])
    assert record["environments_known"]
    assert record["packages"] == []
    back = json.loads(made.run("compare", new[:12], old[:12], "--json").out)["stages"][0]
    assert back["verdict"] == "worse"
    assert back["score"]["difference"]["estimate"] == -stage["score"]["difference"]["estimate"]


def test_the_first_characters_of_more_than_one_run(made: Workspace) -> None:
    store = Store(made)
    experiment = store.runs()[0].info.experiment_id
    ids = [store.client.create_run(experiment).info.run_id for _ in range(17)]  # of 17, two begin with the same digit
    done = made.run("compare", next(name[0] for name in ids if sum(other[0] == name[0] for other in ids) > 1), "HEAD")
    for name in ids:
        store.client.delete_run(name)
    assert done.code == 1
    assert "error: more than one run begins with " in done.err
    assert "give more characters of its id" in done.err


@pytest.mark.slow
def test_a_session_and_the_same_again(made: Workspace) -> None:
    session = Store(made).session().info.run_id
    done = made.run("compare", session, "HEAD")
    assert done.code == 0, done.text
    assert "nothing differs" in done.out


def test_a_session_without_results_is_not_the_same_as_another(made: Workspace) -> None:
    """One whose stage was started by hand: it leaves no dvc.lock."""
    command = yaml.safe_load((made.root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]["dedup"]["cmd"]
    assert made.call(*shlex.split(command)).code == 0
    made.wait()
    session = next(run for run in Store(made).runs() if run.data.tags["workbench.role"] == "session").info.run_id
    for command in ("compare", "reproduce"):
        done = made.run(command, session)
        assert done.code != 0, done.text
        assert f"the session {session[:8]} recorded no result" in done.text
        assert "give the run of one of its stages" in done.text


def test_examples_that_are_gone_are_named(made: Workspace, tmp_path: Path) -> None:
    cache = made.root / ".dvc" / "cache"
    cache.rename(tmp_path / "cache")
    try:
        done = made.run("compare")
    finally:
        (tmp_path / "cache").rename(cache)
    assert done.code == 0, done.text
    assert "no interval: the examples of before and after are neither in the cache nor at a remote" in done.out
    assert "eval@first: scale 1 → 3" in done.out


def test_the_page_needs_nothing_and_runs_nothing(made: Workspace, tmp_path: Path) -> None:
    made.git("branch", "a<script>b", "HEAD")
    done = made.run("compare", "a<script>b", "workspace", "--html", str(tmp_path / "page.html"))
    assert done.code == 0, done.text
    page = (tmp_path / "page.html").read_text()
    assert "a&lt;script&gt;b" in page
    assert "<script" not in page
    assert "scale 1 → 3" in page
    assert "Packages: not known of both" in page
    assert "The same in both: " in page


def test_outside_a_workspace_it_says_so(tmp_path: Path) -> None:
    done = workspace.Workspace.at(tmp_path).run("compare")
    assert done.code == 1
    assert "Traceback" not in done.text
    assert "error: neither this folder nor one above it holds dvc.yaml" in done.err


@pytest.mark.parametrize("word", ["no-such-thing", "0123456789abcdef0123456789abcdef"])
def test_an_unknown_name(made: Workspace, word: str) -> None:
    done = made.run("compare", word)
    assert done.code == 1
    assert f"{word!r} is not a git revision, a DVC experiment, or a run of mlflow" in done.err
    assert "fix:" in done.err


def test_a_store_that_does_not_answer_is_named(made: Workspace) -> None:
    done = made.run("compare", "0123456789", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert done.code == 1
    assert "Traceback" not in done.err
    assert "error: http://127.0.0.1:9 does not answer" in done.err
    assert "where: compute.yaml, key trackers" in done.err


def test_a_pipeline_of_one_stage_is_not_the_run_of_a_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = light_pipeline.create(tmp_path)
    made.repro("curate@corpus")
    early = made.locked()
    one = {name: early[name] for name in ("resolve", "curate@corpus")}
    (made.root / ".dvc" / "config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    (made.root / ".dvc" / "config.local").unlink(missing_ok=True)
    made.git("init", "--quiet", "--initial-branch=main")
    (made.root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": one}))
    workspace.commit(made)
    made.repro("dedup")
    monkeypatch.chdir(made.root)
    found = compare(made.root, "HEAD", "workspace")
    assert {change.stage: change.only for change in found.stages} == {"curate@corpus": "", "dedup": "B"}


@pytest.mark.parametrize("git", [True, False])
def test_without_a_commit_or_without_git(tmp_path: Path, *, git: bool) -> None:
    made = light_pipeline.create(tmp_path)
    if git:
        (made.root / ".dvc" / "config").write_text("[core]\n    analytics = false\n    check_update = false\n")
        made.git("init", "--quiet")
    done = made.run("compare", "HEAD")
    assert done.code == 1
    assert "'HEAD' is not a git revision, a DVC experiment, or a run of any tracker" in done.err


def write(folder: Path, values: dict[str, float], score: str = "accuracy") -> Path:
    rows = [{"id": name, "group": name, "score": value, "bytes": 1.0 + (name == "a")} for name, value in values.items()]
    evaluation.write(
        folder, Evaluation({score: 0.0}, score, higher_is_better=False, examples=rows, weight="bytes"), {"bytes": "double"}
    )
    return folder


def test_only_shared_examples_count_and_weights_do(tmp_path: Path) -> None:
    before = write(tmp_path / "before", {"a": 3.0, "b": 2.0, "c": 2.0, "d": 2.0, "e": 2.0, "f": 2.0, "x": 9.0})
    after = write(tmp_path / "after", {"f": 1.0, "e": 1.0, "d": 1.0, "c": 1.0, "b": 1.0, "a": 1.0, "y": 0.0})
    found = scores.compare(before, after)
    assert isinstance(found, ScoreChange)
    assert (found.before, found.after) == (16 / 7, 1.0)  # a weighs twice
    assert found.difference.estimate == pytest.approx(-9 / 7)
    assert -9 / 7 < found.difference.high < 0
    assert (found.difference.examples, found.unshared, found.verdict) == (6, 2, "better")


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    before = write(tmp_path / "before", {"a": 3.0, "b": 2.0})
    assert (
        scores.compare(before, write(tmp_path / "other", {"a": 3.0}, "loss")) == "score is accuracy in one and loss in the other"
    )
    said = scores.compare(before, write(tmp_path / "after", {"a": 3.0, "c": 2.0}))
    assert said == "they share 1 examples of 1 groups; an interval needs 6 groups"
    five = write(tmp_path / "five", dict.fromkeys("abcde", 1.0))
    said = scores.compare(five, write(tmp_path / "better", dict.fromkeys("abcde", 0.5)))
    assert said == "they share 5 examples of 5 groups; an interval needs 6 groups"
