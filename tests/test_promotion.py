"""``workbench promote``: the champion changes on evidence alone, and can be rolled back."""

from __future__ import annotations

from pathlib import Path

import plugin_project
import pytest
import small_pipeline
from test_reproduce import Store, in_git
from workbench_tracker_mlflow.store import Store as MlflowStore
from workspace import Workspace

from workbench.commands import promotion
from workbench.commands.promotion import Contest
from workbench.comparison.scores import ScoreChange
from workbench.errors import WorkbenchError
from workbench.models import statistics

MODEL = "workbench-default"


def add_models(made: Workspace) -> None:
    """Let the pipeline make a model, and evaluate it twice."""
    site = made.root.parent / "site"
    plugin_project.install(site, "stranger-tuned", plugin_project.stranger("tuned"))
    plugin_project.install(site, "stranger-count", plugin_project.stranger("graded"))
    align = small_pipeline.stage("align", {"model": "raw/model"}, {"out": "data/models/aligned"}, "data/metrics/align.json")

    def change(content: dict[str, dict[str, object]]) -> None:
        content["stages"]["align"] = align
        evaluation: dict = content["stages"]["eval"]["do"]  # type: ignore[index, type-arg]
        evaluation["cmd"] = evaluation["cmd"].replace("--model raw/model", "--model data/models/aligned")
        evaluation["deps"][0] = "data/models/aligned"

    made.edit("dvc.yaml", change)

    def add(content: dict[str, dict[str, object]]) -> None:
        content["align"] = {"use": "tuned", "with": {"strength": 1.0}, "seed": 0}
        content["eval"]["second"] = {"use": "count", "with": {"scale": -1.0}, "seed": 0}

    made.edit("params.yaml", add)


@pytest.fixture
def made(tmp_path: Path) -> Workspace:
    made = in_git(tmp_path)
    add_models(made)
    made.repro("eval@first", "eval@second")
    return made


def promote(made: Workspace, number: str = "", on: str = "") -> str:
    """What ``workbench promote`` says; whether it promotes or not."""
    try:
        return promotion.promote(made.root, promotion.contest(made.root, number, on))
    except WorkbenchError as error:
        return f"error: {error}"


def champion(made: Workspace) -> str:
    return str(Store(made).client.get_model_version_by_alias(MODEL, "champion").version)


def tune(made: Workspace, strength: float, gift: float = 0.0) -> None:
    made.params(align__with__strength=strength, align__with__gift=gift)
    made.repro("eval@first", "eval@second")


@pytest.mark.slow
def test_the_champion_changes_on_evidence_alone(made: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """One story, since each step stands on the one before."""
    monkeypatch.chdir(made.root)
    with pytest.raises(WorkbenchError, match="there is no champion"):
        promotion.roll_back(made.root)
    assert "there is no version 77" in promote(made, "77")
    assert "no evaluation is called 'third'" in promote(made, on="third")
    assert promote(made).startswith("champion is version 1 of workbench-default")
    assert champion(made) == "1"
    assert "is the champion already" in promote(made)

    tune(made, 1.05)  # a twentieth of the noise: forty examples do not show it
    assert "several evaluations could decide" in promote(made)
    assert "of first, second" in promote(made)
    assert "no evaluation is called 'third'" in promote(made, on="third")
    refused = made.run("promote", "--on", "first")
    assert refused.code == 1
    assert "first does not show that the candidate is better: no difference shown" in refused.err
    assert "fix:" in refused.err
    assert champion(made) == "1"

    tune(made, 3.0, gift=6.0)
    assert "first shows that it is better, and second that it is worse" in promote(made, on="first")
    assert champion(made) == "1"

    tune(made, 3.0)
    better = made.run("promote", "--on", "first")
    assert better.code == 0, better.text
    (line,) = [line for line in better.out.splitlines() if "(decides)" in line]
    assert "40 examples  better" in line
    assert champion(made) == "4"
    noted = Store(made).client.get_model_version(MODEL, "4").tags["workbench.champion_since"]
    assert "first: score +" in noted
    assert "before, version 1 of workbench-default" in better.out

    assert "champion is version 1 of workbench-default" in promotion.roll_back(made.root)
    assert champion(made) == "1"
    with pytest.raises(WorkbenchError, match="there was no champion before"):
        promotion.roll_back(made.root)

    made.params(eval__first__with__scale=0.5)
    tune(made, 9.0)
    asked = promote(made, on="first")
    assert "first cannot decide: the champion was not evaluated so, with the same configuration and data" in asked


def versions(root: Path, count: int) -> None:
    """Registered versions, of models that nobody has made."""
    store = MlflowStore(root, MODEL)
    store.client.create_registered_model(MODEL)
    for number in range(count):
        store.client.create_model_version(MODEL, "file:///nowhere", tags={"workbench.digest": f"{number}" * 32})


def test_a_rollback_returns_to_the_champion_that_was_announced_whoever_moved_the_alias(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "compute.yaml").write_text("trackers: [mlflow]\n")
    versions(tmp_path, 4)
    client = MlflowStore(tmp_path, MODEL).client

    def promote_version(number: str) -> str:
        _, known = promotion._registry(tmp_path)
        candidate = next(version for version in known if version.number == number)
        champion = next((version for version in known if "champion" in version.aliases), None)
        score = ScoreChange(
            "score",
            1.0,
            2.0,
            statistics.clustered_mean([1.0, 1.1] * 20, [*map(str, range(40))]),
            higher_is_better=True,
            unshared=0,
        )
        return promotion.promote(tmp_path, Contest(candidate, champion, {"first": score}, "first"))

    def now() -> str:
        return str(client.get_model_version_by_alias(MODEL, "champion").version)

    for number in ("1", "3"):
        promote_version(number)
    client.set_registered_model_alias(MODEL, "champion", "2")
    with pytest.raises(WorkbenchError, match=r"by hand or by a rollback, and nothing says .* promoted is version 3"):
        promotion.roll_back(tmp_path)
    assert now() == "2"
    assert "before, version 2 of" in promote_version("4")
    assert "champion is version 2 of" in promotion.roll_back(tmp_path)
    assert now() == "2"
    client.set_registered_model_alias(MODEL, "champion", "3")
    assert "champion is version 1 of" in promotion.roll_back(tmp_path)
    with pytest.raises(WorkbenchError, match="there was no champion before"):
        promotion.roll_back(tmp_path)
    promote_version("3")
    client.delete_model_version(MODEL, "1")
    with pytest.raises(WorkbenchError, match=r"version 1, which was champion before .* no longer registered"):
        promotion.roll_back(tmp_path)
