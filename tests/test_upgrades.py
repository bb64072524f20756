"""Upgrades and edits of installed plugins, by pip: what they make stale, and what they do not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import beside
import notes_pipeline
import pytest
import workspace
from beside import Beside
from workspace import Workspace

PLUGIN, LIBRARY = "dedup-normalized", "text-forms"
MODULE = "workbench_dedup_normalized/__init__.py"
FOLD = "fold(text, digits=self.config.digits)"


class Bench:
    """The pipeline with the plugin installed from copies of the sources, which a test may change."""

    def __init__(self, python: Beside, made: Workspace, sources: Path) -> None:
        self.python, self.made = python, made
        self.plugin = notes_pipeline.copy_distribution(PLUGIN, sources)
        self.library = notes_pipeline.copy_distribution(LIBRARY, sources)

    def install(self, folder: Path, *, editable: bool = False) -> None:
        notes_pipeline.pip(
            self.python, "install", "--force-reinstall", "--no-deps", *(("--editable",) if editable else ()), folder
        )

    def compared(self) -> str:
        """What DVC compares after ``workbench resolve``."""
        assert self.made.call("workbench", "resolve").code == 0
        return json.dumps(json.loads((self.made.root / "plugins-lock.json").read_text())["stages"])

    def why(self) -> str:
        """What ``workbench why dedup`` says before anything has run."""
        return self.made.call("workbench", "why", "dedup").out

    def stale(self) -> list[str]:
        """The stages that ``dvc repro`` runs besides ``resolve``."""
        ran = workspace.ran(self.made.repro())
        assert ran[0] == "resolve"
        return ran[1:]


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> tuple[Beside, Workspace]:
    """The pipeline after a run with the wheel of the plugin."""
    folder = tmp_path_factory.mktemp("before")
    python = beside.create(folder / "venv")
    notes_pipeline.pip(python, "install", *(notes_pipeline.DISTRIBUTIONS / name for name in (LIBRARY, PLUGIN)))
    made = notes_pipeline.create(folder / "made", python, {"dedup.use": "normalized"})
    made.repro()
    return python, made


@pytest.fixture
def bench(before: tuple[Beside, Workspace], tmp_path: Path) -> Bench:
    python = notes_pipeline.copy_python(before[0], tmp_path / "venv")
    return Bench(python, notes_pipeline.copy(before[1], tmp_path / "made", python), tmp_path)


@pytest.mark.slow
def test_editable_for_wheel_of_the_same_code_is_nothing_and_an_edit_of_it_is(bench: Bench) -> None:
    bench.install(bench.plugin, editable=True)
    assert str(bench.plugin) in bench.made.call("workbench", "plugins", "--json").out
    compared = bench.compared()
    for change in (_comment, _docstring, _layout, _touch, _release):
        change(bench.plugin / MODULE)
        assert bench.compared() == compared, change.__name__
    assert bench.stale() == []
    _edit(bench.plugin / MODULE, "self.config.digits", "not self.config.digits")
    assert "the code of dedup normalized changed" in bench.why()
    assert bench.stale() == ["dedup", "tokenize"]
    bench.install(bench.plugin)
    assert str(bench.plugin) not in bench.made.call("workbench", "plugins", "--json").out
    assert bench.stale() == []


def test_upgraded_wheel_makes_stale_what_uses_it_if_its_code_has_changed(bench: Bench) -> None:
    _release(bench.plugin / MODULE)
    bench.install(bench.plugin)
    assert '"version": "1.0.1"' in bench.made.call("workbench", "info", "dedup", "normalized", "--json").out
    assert bench.stale() == []
    _edit(bench.plugin / MODULE, FOLD, "fold(text[:12], digits=self.config.digits)")
    bench.install(bench.plugin)
    assert "the code of dedup normalized changed" in bench.why()
    assert bench.stale() == ["dedup", "tokenize"]


def test_another_version_of_a_direct_dependency_makes_stale_what_uses_it(bench: Bench) -> None:
    _edit(bench.library / "pyproject.toml", 'version = "1.0.0"', 'version = "1.1.0"')
    bench.install(bench.library)
    assert "text-forms 1.0.0 → 1.1.0" in bench.why()
    assert bench.stale() == ["dedup"]  # whose bytes are the same, so that nothing follows


def _edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def _comment(file: Path) -> None:
    _edit(file, "        texts = run.track(", "        # One batch at a time.\n        texts = run.track(")


def _docstring(file: Path) -> None:
    _edit(file, '"""Cluster the documents by their normal form."""', '"""Documents of one normal form are one cluster."""')


def _layout(file: Path) -> None:
    _edit(file, FOLD, "fold(\n            text,\n            digits=(self.config.digits),\n        )")


def _touch(file: Path) -> None:
    os.utime(file)


def _release(file: Path) -> None:
    _edit(file.parent.parent / "pyproject.toml", 'version = "1.0.0"', 'version = "1.0.1"')
