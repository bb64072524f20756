"""The embedded store as people treat it: copied, moved, upgraded, its experiment renamed or deleted, its artifacts lost."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.entities import LoggedModelOutput
from mlflow.tracking._tracking_service import utils as artifact_utils
from workbench_tracker_mlflow import recorded, schema
from workbench_tracker_mlflow.store import Store
from workbench_tracker_mlflow.tracker import MlflowTracker

from workbench.commands.doctor import project
from workbench.errors import WorkbenchError

EXPERIMENT = "workbench-default"
TAGS = {"workbench.role": "stage", "workbench.stage": "sft", "workbench.run": "r-1"}


@pytest.fixture(autouse=True)
def embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A workspace whose store has a finished run with an artifact, a logged model, and a registered one."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve() / "with spaces é"
        root.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
            store = Store(root, EXPERIMENT)
        run = store.client.create_run(store.experiment, 0, TAGS, "sft").info.run_id
        store.client.log_text(run, "{}", "lock_entry.json")
        model = store.client.create_logged_model(store.experiment, name="model", source_run_id=run)
        (root / "config.json").write_text("{}")
        store.client.log_model_artifact(model.model_id, str(root / "config.json"))
        store.client.finalize_logged_model(model.model_id, "READY")
        store.client.log_outputs(run, [LoggedModelOutput(model.model_id, 0)])
        store.client.create_registered_model("registered")
        store.client.create_model_version("registered", model.artifact_location, run, model_id=model.model_id)
        store.client.set_terminated(run, "FINISHED")
        yield root


@pytest.fixture(autouse=True)
def other_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow remembers in its process where the artifacts of a run lie; a process works for one workspace alone."""
    monkeypatch.setattr(artifact_utils, "_artifact_repos_cache", OrderedDict())


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def database(root: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(root / ".workbench" / "mlflow.db", isolation_level=None))


def the_run(root: Path) -> str:
    with database(root) as opened:
        return str(opened.execute("SELECT run_uuid FROM runs").fetchone()[0])


def check(root: Path) -> str:
    return MlflowTracker(MlflowTracker.Config()).check_store(root)


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if "mlflow.db" not in path.name}


def test_a_copy_writes_into_its_own_folder(made: Path, copied: Path, tmp_path: Path) -> None:
    before, told = files(made), check(copied)
    assert f"came from another folder, and the next command that opens it puts right what it says of {made.as_uri()}" in told
    store = Store(copied, EXPERIMENT)
    run = store.client.create_run(store.experiment, 0).info.run_id
    store.client.log_text(run, "new", "new.txt")
    store.client.log_text(the_run(copied), "more", "more.txt")
    assert files(made) == before
    assert (copied / ".workbench" / "artifacts" / run / "artifacts" / "new.txt").read_text() == "new"
    with database(copied) as opened:
        assert made.as_uri() not in "\n".join(opened.iterdump())
    (version,) = store.client.search_model_versions("name = 'registered'")
    assert store.client.get_model_version_download_uri("registered", version.version).startswith(copied.as_uri())
    assert "another folder" not in check(copied)
    assert check(made).endswith("1 runs")


def test_a_renamed_workspace_reads_what_it_has_and_a_link_to_it_changes_nothing(copied: Path, tmp_path: Path) -> None:
    Store(copied, EXPERIMENT)
    renamed = copied.rename(tmp_path / "renamed")
    store = Store(renamed, EXPERIMENT)
    assert [item.path for item in store.client.list_artifacts(the_run(renamed))] == ["lock_entry.json"]
    (tmp_path / "link").symlink_to(renamed)
    assert "another folder" not in check(tmp_path / "link")


def test_a_store_copied_alone_does_not_write_to_the_other_workspace(made: Path, tmp_path: Path) -> None:
    (tmp_path / ".workbench").mkdir()
    shutil.copy(made / ".workbench" / "mlflow.db", tmp_path / ".workbench")
    with pytest.raises(WorkbenchError, match="would be written there") as raised:
        Store(tmp_path, EXPERIMENT)
    assert "copy that folder" in raised.value.fix
    with pytest.raises(WorkbenchError, match="artifacts of 1 runs are gone"):
        check(tmp_path)


@pytest.mark.parametrize(("revision", "what"), [("older", "of an older MLflow"), ("ffff0000ffff", "a newer one has made")])
def test_a_store_of_another_version(copied: Path, revision: str, what: str) -> None:
    head, known = schema._revisions()
    with database(copied) as opened:
        assert opened.execute("SELECT version_num FROM alembic_version").fetchone() == (head,)
        old = next(iter(known - {head})) if revision == "older" else revision
        opened.execute("UPDATE alembic_version SET version_num = ?", (old,))
    for look in (check, lambda root: Store(root, EXPERIMENT)):
        with pytest.raises(WorkbenchError, match=what) as raised:
            look(copied)
        assert ("mlflow db upgrade" in raised.value.fix) == (revision == "older")


def test_a_deleted_experiment_says_how_to_restore_it(copied: Path) -> None:
    store = Store(copied, EXPERIMENT)
    store.client.delete_experiment(store.experiment)
    for look in (check, lambda root: Store(root, EXPERIMENT)):
        with pytest.raises(WorkbenchError, match="experiment 'workbench-default' is deleted") as raised:
            look(copied)
        assert f"mlflow experiments restore --experiment-id {store.experiment}" in raised.value.fix
        assert f"MLFLOW_TRACKING_URI=sqlite:///{copied}" in raised.value.fix
    store.client.restore_experiment(store.experiment)
    assert Store(copied, EXPERIMENT).experiment == store.experiment


def test_an_experiment_renamed_in_the_ui_stays_the_one(copied: Path) -> None:
    store = Store(copied, EXPERIMENT)
    store.client.rename_experiment(store.experiment, "my project")
    again = Store(copied, EXPERIMENT)
    assert again.experiment == store.experiment
    assert again.starting_with(the_run(copied)[:6])


def test_lost_artifacts_are_told(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(copied, EXPERIMENT)
    run = the_run(copied)
    shutil.rmtree(copied / ".workbench" / "artifacts" / run)
    with pytest.raises(WorkbenchError, match=f"artifacts of 1 runs are gone, of {run}"):
        check(copied)
    store.set_tags(run, {"workbench.command": "x"})
    with pytest.raises(WorkbenchError, match=r"lock_entry\.json of run") as raised:
        recorded.read(store, run, copied / "into")
    assert "workbench sync --again" in raised.value.fix
    (copied / "compute.yaml").write_text("trackers: [mlflow]\n")
    monkeypatch.chdir(copied)
    (told,) = project.stores(copied)
    assert told.status == "fail"
    assert "workbench sync --again" in told.fix


def test_a_deleted_run_is_found_by_its_short_id(copied: Path) -> None:
    store = Store(copied, EXPERIMENT)
    run = the_run(copied)
    store.client.delete_run(run)
    found = [recorded._find(store, name) for name in (run, run[:8])]
    assert [one and one.info.run_id for one in found] == [run, run]
