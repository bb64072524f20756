"""``workbench reproduce`` on a small pipeline in a git repository: every verdict, and what the store then tells."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import light_pipeline
import plugin_project
import pytest
import workspace
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from workspace import Done, Workspace

from workbench.artifacts import dvc_lock

STAGES = ("curate@corpus", "curate@other", "dedup", "eval@first", "report")
CLOCK = plugin_project.stranger("short", ('return "long"', "return __import__('time').asctime()"), name="clock")


def in_git(folder: Path) -> Workspace:
    """The light pipeline in a repository, with the MLflow tracker."""
    made = light_pipeline.create(folder, trackers=("mlflow",))
    (made.root / ".dvc" / "config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    shutil.copyfile(workspace.PROJECT / ".gitignore", made.root / ".gitignore")
    for name in ("tracker-mlflow",):
        shutil.copytree(workspace.PROJECT / "plugins" / name, made.root / "plugins" / name, ignore=workspace.IGNORED)
    made.git("init", "--quiet", "--initial-branch=main")
    workspace.commit(made)
    return made


class Store:
    """The MLflow store of a workspace."""

    def __init__(self, made: Workspace) -> None:
        self.uri = f"sqlite:///{made.root / '.workbench' / 'mlflow.db'}"
        self.client = MlflowClient(tracking_uri=self.uri)

    def runs(self) -> list[Run]:
        """Newest first."""
        experiments = [found.experiment_id for found in self.client.search_experiments()]
        return list(self.client.search_runs(experiments, max_results=500))

    def stage(self, name: str) -> Run:
        """The newest original run of a stage."""
        return next(
            run
            for run in self.runs()
            if run.data.tags.get("workbench.stage") == name and "workbench.reproduces" not in run.data.tags
        )

    def session(self) -> Run:
        """The oldest session."""
        return [run for run in self.runs() if run.data.tags["workbench.role"] == "session"][-1]

    def reproduction(self, original: Run) -> Run:
        """The newest run that repeats it."""
        return next(run for run in self.runs() if run.data.tags.get("workbench.reproduces") == original.info.run_id)


def reproduce(made: Workspace, run: Run, *words: str, **variables: str) -> Done:
    done = made.run("reproduce", run.info.run_id, *words, **variables)
    made.wait()
    return done


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = in_git(tmp_path_factory.mktemp("ran"))
    made.repro()
    return made


@pytest.fixture
def made(ran: Workspace, tmp_path: Path) -> Workspace:
    """A workspace of one's own in which the pipeline has run."""
    site = Path(ran.variables["PYTHONPATH"].split(os.pathsep)[0])
    shutil.copytree(site, tmp_path / "site")
    copied = ran.copy(tmp_path / "root")
    path = ran.variables["PYTHONPATH"].replace(str(site), str(tmp_path / "site"))
    return replace(copied, variables={**copied.variables, "PYTHONPATH": path})


@pytest.mark.parametrize("stage", ["curate@corpus", "dedup", pytest.param("report", marks=pytest.mark.slow)])
def test_a_stage_is_bit_exact_and_the_store_links_it_with_the_original(ran: Workspace, stage: str) -> None:
    original = Store(ran).stage(stage)
    before = {file: file.read_bytes() for file in (ran.root / "data").rglob("*") if file.is_file()}
    done = reproduce(ran, original)
    assert done.code == 0, done.text
    assert f"{stage}: BIT-EXACT" in done.out
    assert {file: file.read_bytes() for file in (ran.root / "data").rglob("*") if file.is_file()} == before
    assert ran.git("worktree", "list").count("\n") == 1
    store = Store(ran)
    repeated = store.reproduction(original)
    assert repeated.info.status == "FINISHED"
    assert repeated.data.tags["workbench.verdict"] == "BIT-EXACT"
    assert original.info.run_id in repeated.data.tags["mlflow.note.content"]
    assert repeated.info.run_id in store.client.get_run(original.info.run_id).data.tags["mlflow.note.content"]


@pytest.mark.slow
def test_the_whole_pipeline_is_repeated_by_its_session(ran: Workspace) -> None:
    done = reproduce(ran, Store(ran).session())
    assert done.code == 0, done.text
    assert [line.split(": ")[:2] for line in done.out.splitlines() if "BIT-EXACT" in line] == [
        [name, "BIT-EXACT"] for name in STAGES
    ]


@pytest.mark.slow
def test_changes_that_were_never_committed_are_reproduced(made: Workspace) -> None:
    made.params(dedup__with__words=1)
    (made.root / "notes.py").write_text("# new and not committed\n")
    made.repro("dedup")
    original = Store(made).stage("dedup")
    made.git("checkout", "--", "params.yaml")
    (made.root / "notes.py").unlink()
    done = reproduce(made, original)
    assert done.code == 0, done.text
    assert "dedup: BIT-EXACT" in done.out


def test_what_the_clock_gets_into_diverges_and_is_named(made: Workspace) -> None:
    site = made.root.parent / "site"
    plugin_project.install(site, "stranger-clock", CLOCK)
    made.params(curate__corpus__filters=[{"use": "clock", "with": {"limit": 20}}])
    made.repro("curate@corpus")
    done = reproduce(made, Store(made).stage("curate@corpus"))
    assert done.code == 1, done.text
    assert "curate@corpus: DIVERGED" in done.out
    assert "data/decisions/corpus/part-00000.parquet" in done.out
    assert "row 1, column 'rule'" in done.out


@pytest.mark.slow
def test_an_input_that_is_gone_is_named(made: Workspace) -> None:
    shutil.rmtree(made.root / ".dvc" / "cache")
    original = Store(made).stage("dedup")
    done = reproduce(made, original)
    assert done.code == 2, done.text
    assert "dedup: INPUTS-CHANGED: data/curated/corpus with hash" in done.out
    repeated = Store(made).reproduction(original)
    assert repeated.info.status == "FAILED"
    assert repeated.data.tags["workbench.verdict"] == "INPUTS-CHANGED"


@pytest.mark.slow
def test_data_from_outside_that_changed_are_named(made: Workspace) -> None:
    with (made.root / "raw" / "corpus.txt").open("a") as file:
        file.write("one more line\n")
    workspace.commit(made)
    made.repro()
    original = Store(made).stage("curate@corpus")
    made.git("checkout", "--quiet", "HEAD~1", "--", "raw/corpus.txt")
    assert reproduce(made, original).code == 0  # it is what the commit says that counts
    outside = made.root.parent / "outside.txt"
    outside.write_text("one line\nand another\nand a third one\n")
    made.params(curate__corpus__with={"file": str(outside)})
    made.repro()
    original = Store(made).stage("curate@corpus")
    outside.write_text("another line\nand another\nand a third one\n")
    done = reproduce(made, original)
    assert done.code == 2, done.text
    assert f"INPUTS-CHANGED: {outside} was " in done.out


@pytest.mark.slow
def test_a_plugin_that_cannot_be_had_again_is_named(made: Workspace) -> None:
    site = made.root.parent / "site"
    original = Store(made).stage("curate@corpus")
    file = site / "stranger_short" / "__init__.py"
    file.write_text(file.read_text().replace("self.config.limit", "self.config.limit + 1"))
    done = reproduce(made, original)
    assert done.code == 3, done.text
    assert "curate@corpus: CANNOT-RUN: the filter short that is here is not the one that ran: its code differs" in done.out
    shutil.rmtree(site / "stranger_short")
    shutil.rmtree(next(site.glob("stranger_short-*")))
    done = reproduce(made, original)
    assert done.code == 3, done.text
    assert "no filter 'short' is installed" in done.out


@pytest.mark.slow
def test_the_code_of_a_plugin_from_a_folder_elsewhere_is_part_of_the_record(made: Workspace) -> None:
    site = made.root.parent / "site"
    url = (site.parent / "sources").as_uri()
    (next(site.glob("stranger_light-*")) / "direct_url.json").write_text(json.dumps({"url": url, "dir_info": {"editable": True}}))
    file = site / "stranger_light" / "__init__.py"
    file.write_text(file.read_text().replace("kept[:-1]", "kept[:2]"))
    made.repro()
    original = Store(made).stage("dedup")
    file.write_text("raise ImportError('all is lost')\n")
    done = reproduce(made, original)
    assert done.code == 0, done.text
    assert "dedup: BIT-EXACT" in done.out


def test_plugins_that_are_installed_and_not_used_are_no_part_of_the_record(ran: Workspace) -> None:
    """Those of this checkout are installed from its folders."""
    sources = ran.root.glob(".workbench/journal/*/files/source-*.diff")
    assert {file.name for file in sources} == {"source-workspace.diff"}


def test_a_commit_that_is_not_here_is_named(made: Workspace) -> None:
    store = Store(made)
    original = store.stage("dedup")
    store.client.set_tag(original.info.run_id, "mlflow.source.git.commit", "0" * 40)
    done = reproduce(made, original)
    assert done.code == 3, done.text
    assert "commit 000000000000 is not in this repository" in done.out


def test_an_unknown_run_is_refused(ran: Workspace) -> None:
    done = ran.run("reproduce", "f" * 32)
    assert done.code == 1
    assert "no run 'ffffffffffffffffffffffffffffffff' of a stage or a session" in done.err


@pytest.fixture
def clone(made: Workspace, tmp_path: Path) -> Workspace:
    """A colleague's clone, with the results from the remote."""
    made.git("add", "--all")
    workspace.commit(made)
    assert made.dvc("remote", "add", "--default", "shared", str(tmp_path / "remote")).code == 0
    workspace.commit(made)
    done = made.dvc("push")
    assert done.code == 0, done.text
    made.git("clone", "--quiet", str(made.root), str(tmp_path / "clone"))
    return Workspace.at(tmp_path / "clone", PYTHONPATH=made.variables["PYTHONPATH"])


@pytest.mark.slow
def test_a_colleague_pulls_reruns_nothing_and_reproduces(made: Workspace, clone: Workspace) -> None:
    assert clone.dvc("pull").code == 0
    assert workspace.ran(clone.repro()) == ["resolve"]
    shutil.rmtree(clone.root / ".dvc" / "cache")
    done = reproduce(clone, Store(made).session(), "--pipeline", MLFLOW_TRACKING_URI=Store(made).uri)
    assert done.code == 0, done.text
    assert done.out.count("BIT-EXACT") == len(STAGES)


@pytest.mark.slow
def test_one_flipped_weight_is_named(tmp_path: Path) -> None:
    made = workspace.tokenized().copy(tmp_path / "project")
    made.repro("pretrain")
    store = Store(made)
    original = store.stage("pretrain")
    weights = made.root / "data" / "models" / "base" / "model.safetensors"
    header = int.from_bytes(weights.read_bytes()[:8], "little")
    flip(weights, 8 + header + 2)
    assert made.dvc("commit", "--force", "pretrain").code == 0
    digest = dvc_lock.outputs(made.root)["data/models/base"]
    store.client.set_tag(original.info.run_id, "workbench.output.data/models/base", digest)
    done = reproduce(made, original)
    assert done.code == 1, done.text
    assert "pretrain: DIVERGED: 1 of 2 outputs differ, first data/models/base/model.safetensors: tensor 'model." in done.out
    assert "differs in 1 of" in done.out
    assert "ulp" in done.out


def flip(file: Path, position: int) -> None:
    """Flip the lowest bit of a byte."""
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)
