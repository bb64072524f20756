"""What reruns after a change, and whose code runs: the default pipeline up to the tokenizer, in its own workspace."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import workspace
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from workspace import Workspace

LENGTH = "plugins/filter-length/workbench_filter_length/__init__.py"
BPE = "plugins/tokenizer-bpe/workbench_tokenizer_bpe/__init__.py"
EARLY = ["curate@corpus", "curate@benchmark", "dedup", "tokenize"]


@pytest.fixture
def made(tmp_path: Path) -> Workspace:
    return workspace.tokenized().copy(tmp_path / "made")


def sessions(root: Path) -> list[Run]:
    """The parent runs, newest first."""
    client = MlflowClient(tracking_uri=f"sqlite:///{root / '.workbench' / 'mlflow.db'}")
    experiments = [found.experiment_id for found in client.search_experiments()]
    order = ["attributes.start_time DESC"]
    return list(client.search_runs(experiments, "tags.`workbench.role` = 'session'", order_by=order))


def children(root: Path, parent: Run) -> list[Run]:
    client = MlflowClient(tracking_uri=f"sqlite:///{root / '.workbench' / 'mlflow.db'}")
    wanted = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    return list(client.search_runs([parent.info.experiment_id], wanted))


@pytest.mark.slow
def test_threshold_reruns_dedup_and_not_curate(made: Workspace) -> None:
    made.params(dedup__with__threshold=0.4)
    done = made.repro("tokenize")
    ran = workspace.ran(done)
    assert ran[:2] == ["resolve", "dedup"]
    assert set(ran) <= {"resolve", "dedup", "tokenize"}
    assert set(workspace.skipped(done)) >= {"curate@corpus", "curate@benchmark"}


def test_changed_plugin_reruns_what_uses_it_and_what_follows_as_bytes_change(made: Workspace) -> None:
    made.replace(LENGTH, "words < config.min_words", "words <= config.min_words + 10")
    done = made.repro("tokenize")
    assert workspace.ran(done) == ["resolve", "curate@corpus", "dedup", "tokenize"]
    assert workspace.skipped(done) == ["curate@benchmark"]


def test_change_without_effect_on_the_bytes_stops_there(made: Workspace) -> None:
    made.replace(LENGTH, "characters > config.max_characters", "not characters <= config.max_characters")
    assert workspace.ran(made.repro("tokenize")) == ["resolve", "curate@corpus"]


def _comment(made: Workspace) -> None:
    made.replace(LENGTH, "        words = len(", "        # Words are runs of letters.\n        words = len(")


def _docstring(made: Workspace) -> None:
    file = made.root / BPE
    file.write_text(file.read_text(encoding="utf-8").replace('"""', '"""Reworded: ', 1), encoding="utf-8")


def _layout(made: Workspace) -> None:
    made.replace(LENGTH, "words = len(tokens(document.text))", "words = len(\n            tokens(document.text)\n        )")


def _core_that_decides_nothing(made: Workspace) -> None:
    made.replace("workbench/commands/cli.py", '[f"error: {error}",', '[f"error! {error}",')


def _private_module(made: Workspace) -> None:
    made.replace("workbench/lib/commit.py", "def write_text(path: Path", "NOTHING = None\n\n\ndef write_text(path: Path")


def _type_only_import(made: Workspace) -> None:
    made.replace("workbench/kinds/dedup.py", "import Rows, ShingleSets\n", "import ShingleSets, Rows\n")


def _annotation(made: Workspace) -> None:
    made.replace("workbench/kinds/tokenizer.py", "corpus: Corpus, out: Path, run: Run", "corpus: object, out: object, run: Run")


def _default_left_out(made: Workspace) -> None:
    made.params(dedup__with__ngram=None)


def _default_written_out(made: Workspace) -> None:
    made.params(dedup__with__heldout=0.05, curate__benchmark__with__named=True)


@pytest.mark.parametrize(
    "change",
    [
        *(_comment, _docstring, _layout, _core_that_decides_nothing, _private_module, _type_only_import, _annotation),
        *(_default_left_out, _default_written_out),
    ],
)
def test_changes_without_meaning_rerun_nothing(made: Workspace, change: Callable[[Workspace], None]) -> None:
    parents = len(sessions(made.root))
    lock = (made.root / "plugins-lock.json").read_bytes()
    change(made)
    done = made.repro("tokenize")
    assert workspace.ran(done) == ["resolve"]
    assert sorted(workspace.skipped(done)) == sorted(EARLY)
    assert (made.root / "plugins-lock.json").read_bytes() == lock
    assert len(sessions(made.root)) == parents


def test_another_default_in_a_class_body_of_the_core_reruns_what_uses_it(made: Workspace) -> None:
    made.replace("workbench/kinds/tokenizer.py", "lossless: ClassVar[bool] = True", "lossless: ClassVar[bool] = False")
    assert workspace.ran(made.repro("tokenize")) == ["resolve", "tokenize"]


def test_policy_of_seeds_is_per_stage(made: Workspace) -> None:
    made.params(pretrain__seed=7)
    assert workspace.ran(made.repro("tokenize")) == ["resolve"]


@pytest.mark.slow
def test_warn_keeps_the_result_of_code_that_has_moved_and_says_so(made: Workspace) -> None:
    made.params(curate__corpus__rerun="warn")
    made.replace(LENGTH, "words < config.min_words", "words <= config.min_words + 10")
    done = made.repro("tokenize")
    assert workspace.ran(done) == ["resolve"]
    assert "curate.corpus: the code of filter length has moved" in done.err
    made.params(dedup__with__threshold=0.4)
    done = made.repro("tokenize")
    assert workspace.ran(done)[:2] == ["resolve", "dedup"]
    made.wait()
    assert "the code of filter length has moved" in sessions(made.root)[0].data.tags["mlflow.note.content"]
    made.params(curate__corpus__rerun=None)
    assert "curate@corpus" in workspace.ran(made.repro("tokenize"))


@pytest.mark.slow
def test_pin_keeps_the_result_silently_and_runs_with_no_other_code(made: Workspace) -> None:
    made.params(curate__corpus__rerun="pin")
    made.replace(LENGTH, "words < config.min_words", "words <= config.min_words + 10")
    done = made.repro("tokenize")
    assert workspace.ran(done) == ["resolve"]
    assert "moved" not in done.text
    (made.root / "data" / "decisions" / "corpus" / "part-00000.parquet").unlink()
    shutil.rmtree(made.root / ".dvc" / "cache")
    failed = made.dvc("repro", "tokenize")
    assert failed.code != 0
    assert "the code of filter length is no longer the code that it is pinned to" in failed.text
    made.params(curate__corpus__with__private=True)
    assert "curate@corpus" in workspace.ran(made.repro("tokenize"))


@pytest.mark.slow
def test_code_of_a_git_worktree_is_what_runs_there(made: Workspace, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    made.git("worktree", "add", "--quiet", str(tree))
    other = Workspace(tree, made.variables)
    other.replace(LENGTH, "words < config.min_words", "words < 40")
    done = other.repro("curate@corpus")
    assert workspace.ran(done) == ["resolve", "curate@corpus"]
    before, after = (json.loads((place / "data/metrics/curate-corpus.json").read_text()) for place in (made.root, tree))
    assert after["kept"] < before["kept"]
    assert made.git("status", "--porcelain") == ""


@pytest.mark.slow
def test_experiment_runs_with_its_own_code_and_is_named_in_the_main_store(made: Workspace) -> None:
    made.replace(LENGTH, "words < config.min_words", "words < 40")
    before = json.loads((made.root / "data/metrics/curate-corpus.json").read_text())
    done = made.dvc("exp", "run", "--temp", "--name", "wider-net", "-S", "dedup.with.threshold=0.4", "dedup")
    assert done.code == 0, done.text
    newest = sessions(made.root)[0]
    assert "wider-net" in newest.info.run_name
    ran = {run.data.tags["workbench.stage"]: run for run in children(made.root, newest)}
    assert set(ran) == {"curate@corpus", "dedup"}
    assert json.loads(ran["curate@corpus"].data.tags["workbench.results"])["kept"] < before["kept"]
    assert ran["dedup"].data.params["with.threshold"] == "0.4"
    assert json.loads((made.root / "data/metrics/curate-corpus.json").read_text()) == before


@pytest.mark.slow
def test_parent_of_restored_stages_links_to_the_runs_that_made_them(made: Workspace) -> None:
    first = sessions(made.root)[0]
    makers = {run.data.tags["workbench.stage"]: run.info.run_id for run in children(made.root, first)}
    assert set(makers) == set(EARLY)
    made.params(dedup__with__threshold=0.4)
    made.repro("tokenize")
    made.params(dedup__with__threshold=0.7)
    done = made.repro("tokenize")
    assert workspace.ran(done) == ["resolve"]
    assert set(workspace.restored(done)) == {"dedup", "tokenize"}
    newest = sessions(made.root)[0]
    assert newest.info.run_id not in {first.info.run_id}
    assert children(made.root, newest) == []
    note = newest.data.tags["mlflow.note.content"]
    for stage, maker in makers.items():
        line = next(line for line in note.splitlines() if line.startswith(f"| {stage} |"))
        assert re.search(rf"\]\(#/experiments/\d+/runs/{maker}\)", line), line
