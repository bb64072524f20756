"""Which trackers receive runs, and what is said where the store of one does not answer."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import light_pipeline
import pytest
from workbench_tracker_mlflow.tracker import MlflowTracker

from workbench.errors import PluginError, WorkbenchError
from workbench.hosting import host, trackers
from workbench.hosting.host import Broken, Registry
from workbench.kinds.tracker import Tracker
from workbench.plugin import Config


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    host.registry.cache_clear()
    yield
    host.registry.cache_clear()


@pytest.mark.parametrize("text", [None, "", "threads: 1\n", "trackers: null\n"])
def test_without_the_key_runs_go_to_the_trackers_on_by_default(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "compute.yaml").write_text(text)
    assert trackers.names(tmp_path) == ("mlflow",)
    assert [tracker.name for tracker in trackers.configured(tmp_path)] == ["mlflow"]
    trackers.require_one_of_each(tmp_path)


def test_a_pipeline_whose_compute_yaml_lacks_the_key_is_recorded(tmp_path: Path) -> None:
    made = light_pipeline.create(tmp_path)
    (made.root / "compute.yaml").write_text("threads: 1\n")
    made.repro("curate@corpus")
    assert made.run("sync").code == 0
    with closing(sqlite3.connect(made.root / ".workbench" / "mlflow.db")) as store:
        stages = store.execute("SELECT value FROM tags WHERE key = 'workbench.stage'").fetchall()
    assert ("curate@corpus",) in stages


def test_an_empty_list_is_none_and_not_the_default(tmp_path: Path) -> None:
    (tmp_path / "compute.yaml").write_text("trackers: []\n")
    assert trackers.names(tmp_path) == ()
    assert trackers.configured(tmp_path) == []


def test_without_the_key_and_a_default_nothing_is_left_unrecorded_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Broken("pionero-workbench-tracker-mlflow", "0.1.0", "ImportError: torn", "")
    monkeypatch.setattr(trackers, "registry", lambda *_: Registry((), (broken,), root=tmp_path))
    for ask in (trackers.configured, trackers.require_one_of_each):
        with pytest.raises(
            PluginError, match=r"no tracker .* is on by default; pionero-workbench-tracker-mlflow is broken"
        ) as caught:
            ask(tmp_path)
        assert "trackers: [NAME]" in caught.value.fix
        assert caught.value.where == "compute.yaml, key trackers"


class Plain(Tracker[Config]):
    """Says nothing of its store."""

    name = "plain"
    Config = Config


def test_the_advice_on_a_store_that_does_not_answer_is_the_trackers_own() -> None:
    for tracker, advice in ((MlflowTracker, "with MLFLOW_TRACKING_URI=…; "), (Plain, "start it; ")):
        with pytest.raises(WorkbenchError, match="no route") as caught, trackers.asked(tracker(tracker.Config())):
            raise ConnectionError("no route")
        assert advice in caught.value.fix


def test_trackers_are_found_by_what_they_answer(tmp_path: Path) -> None:
    assert trackers.that_answer(tmp_path, "model_versions") == ["mlflow"]
    assert trackers.that_answer(tmp_path, "nothing_of_this_name") == []
