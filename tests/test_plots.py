"""``dvc plots diff``: curves of runs that differ in their seed alone are one curve with a band."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import vl_convert
import workspace
import yaml
from workspace import PROJECT, Workspace

from workbench.kinds.training import write_training_log

LOSSES = {
    "baseline-seed1": [5.0, 3.0, 2.0],
    "baseline-seed2": [6.0, 4.0, 3.0],
    "baseline-seed13": [7.0, 5.0, 1.0],
    "slower": [8.0, 7.0, 6.0],
}
MODEL = Path("data/models/base")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A tag for each run, with its training log in git, and the plots of the project's own dvc.yaml."""
    root = tmp_path_factory.mktemp("plots") / "root"
    (root / MODEL).mkdir(parents=True)
    shutil.copytree(PROJECT / ".dvc", root / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
    plots = yaml.safe_load((PROJECT / "dvc.yaml").read_text(encoding="utf-8"))["plots"]
    (root / "dvc.yaml").write_text(yaml.safe_dump({"plots": plots}))
    made = Workspace.at(root)
    made.git("init", "--quiet")
    for name, losses in LOSSES.items():
        write_training_log(
            root / MODEL, [{"step": i + 1, "tokens": 2048 * (i + 1), "loss": loss} for i, loss in enumerate(losses)]
        )
        workspace.commit(made)
        made.git("tag", name)
    return made


def marks(made: Workspace, *revisions: str) -> list[str]:
    """What a screen reader says of each mark that is drawn; a line or a band is named by its first point."""
    done = made.dvc("plots", "diff", *revisions, "--targets", "pretraining", "--show-vega")
    assert done.code == 0, done.text
    return re.findall(r'<path aria-label="([^"]+)" role="graphics-symbol"', vl_convert.vegalite_to_svg(done.out))


def test_runs_of_several_seeds_are_a_mean_in_a_band(made: Workspace) -> None:
    drawn = marks(made, *LOSSES)
    means = sorted(mark.partition("revision: ")[2] for mark in drawn if "mean" in mark)
    assert means == [
        "baseline; mean: 6.0000; least: 5.0000; greatest: 7.0000; runs: 3",
        "slower; mean: 8.0000; least: 8.0000; greatest: 8.0000; runs: 1",
    ]
    assert sum("rev: baseline-seed" in mark for mark in drawn) == 3


def test_axes_have_units(made: Workspace) -> None:
    (mean,) = [mark for mark in marks(made, "slower", "slower") if "mean" in mark]
    assert mean.startswith("tokens of training: 2048; loss (nats a token): 8;")
