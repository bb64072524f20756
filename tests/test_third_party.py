"""Strangers' distributions, installed with pip beside the core: one that works, and one that cannot be imported."""

from __future__ import annotations

import json
from pathlib import Path

import beside
import notes_pipeline
import pytest
import workspace
from beside import Beside
from notes_pipeline import DISTRIBUTIONS
from workspace import Workspace

from workbench.artifacts import table

GOOD, BROKEN = "workbench-dedup-normalized", "workbench-filter-outdated"


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> tuple[Beside, Workspace]:
    """A pipeline that has run before anything was installed."""
    folder = tmp_path_factory.mktemp("before")
    python = beside.create(folder / "venv")
    made = notes_pipeline.create(folder / "made", python)
    made.repro()
    notes_pipeline.pip(
        python, "install", *(DISTRIBUTIONS / name for name in ("text-forms", "dedup-normalized", "filter-outdated"))
    )
    return python, made


@pytest.fixture
def python(before: tuple[Beside, Workspace], tmp_path: Path) -> Beside:
    return notes_pipeline.copy_python(before[0], tmp_path / "venv")


@pytest.fixture
def made(python: Beside, before: tuple[Beside, Workspace], tmp_path: Path) -> Workspace:
    return notes_pipeline.copy(before[1], tmp_path / "made", python)


def clusters(made: Workspace) -> int:
    return len({row["cluster"] for row in table.read_rows(made.root / "data" / "decisions" / "dedup", ["cluster"])})


def test_one_line_swaps_dedup_and_runs_it_and_what_follows(made: Workspace) -> None:
    before = clusters(made)
    made.replace("params.yaml", "use: minhash", "use: normalized")
    done = made.repro()
    assert workspace.ran(done) == ["resolve", "dedup", "tokenize"]
    assert workspace.skipped(done) == ["curate@corpus"]
    # The notes on one topic differ in their numbers alone, which the normal form leaves out.
    assert clusters(made) == len(notes_pipeline.TOPICS) + len(notes_pipeline.EMPTY)
    assert clusters(made) != before
    made.replace("params.yaml", "use: normalized", "use: minhash")
    back = made.repro()
    assert workspace.ran(back) == ["resolve"]
    assert workspace.restored(back) == ["dedup", "tokenize"]


def test_the_broken_one_is_listed_with_its_error_and_the_others_are_well(python: Beside, made: Workspace) -> None:
    rows = {row["distribution"]: row for row in json.loads(made.call("workbench", "plugins", "--json").out)}
    assert (rows[GOOD]["kind"], rows[GOOD]["name"], rows[GOOD]["health"]) == ("dedup", "normalized", "ok")
    assert rows[GOOD]["path"].startswith(str(python.root))
    assert "cannot import name 'LineFilter'" in rows[BROKEN]["health"]
    assert rows[BROKEN]["version"] == "0.3.0"
    assert {row["health"] for name, row in rows.items() if name != BROKEN} == {"ok"}


def test_selecting_the_broken_one_names_its_error_and_the_distribution(python: Beside, made: Workspace) -> None:
    made.params(curate__corpus__filters=[{"use": "outdated"}])
    done = made.call("workbench", "check")
    assert done.code == 1
    for part in (
        "the filter 'outdated' is installed and broken",
        "LineFilter",
        "curate.corpus.filters[0].use",
        f"`workbench plugins --errors` shows the traceback of {BROKEN} 0.3.0",
    ):
        assert part in done.err


@pytest.mark.slow
def test_without_it_the_error_names_the_fix_and_the_fix_mends_it(python: Beside, made: Workspace) -> None:
    made.params(dedup__use="normalized")
    made.repro()
    lock = (made.root / "plugins-lock.json").read_bytes()
    notes_pipeline.pip(python, "uninstall", "--yes", GOOD)
    failed = made.dvc("repro")
    notes_pipeline.pip(python, "install", DISTRIBUTIONS / "dedup-normalized")
    assert failed.code != 0
    assert workspace.ran(failed) == ["resolve"]
    for part in ("no dedup 'normalized' is installed", "params.yaml, key dedup.use", f"pip install {GOOD}==1.0.0"):
        assert part in failed.text
    assert (made.root / "plugins-lock.json").read_bytes() == lock
    assert workspace.ran(made.repro()) == ["resolve"]
