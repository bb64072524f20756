"""What authors of plugins have for their own tests beside the conformance classes: a run, and a workspace with its commands."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from workbench.artifacts.corpus import Corpus
from workbench.run import Chart, Compute
from workbench.testing import Project, make_run
from workbench.testing.project import Content

Writes = Callable[[Mapping[str, Content]], Project]
RESOLVE = {
    "cmd": "python -m workbench resolve",
    "always_changed": True,
    "outs": [{"plugins-lock.json": {"cache": False, "persist": True}}],
}
CURATE = {
    "cmd": "python -m workbench run curate.corpus --out data/corpus --decisions data/decisions --metrics data/curate.json",
    "params": [{"plugins-lock.json": ["stages.curate.corpus"]}],
    "outs": ["data/corpus", "data/decisions"],
    "metrics": [{"data/curate.json": {"cache": False}}],
}
FILES: Mapping[str, Content] = {
    "params.yaml": {"curate": {"corpus": {"use": "files", "with": {"path": "texts"}, "filters": [], "seed": 0}}},
    "compute.yaml": {"threads": 1, "trackers": []},
    "dvc.yaml": {"stages": {"resolve": RESOLVE, "curate": CURATE}},
    ".dvc/config": "[core]\n    no_scm = true\n",
    "texts/tides.txt": "The tide goes out twice a day, and twice a day it comes back in.\n",
}


def test_a_run_remembers_what_it_is_told(tmp_path: Path) -> None:
    run = make_run(tmp_path / "new", 7, stage="dedup", compute=Compute("cpu", 2, "bf16"))
    run.metric("kept", 3)
    run.log({"loss": 0.5}, 4)
    run.table("funnel", "What is left", [{"documents": 5}])
    run.chart(Chart("sizes", "Sizes", "x", "y", [1, 2], {"n": [3, 4]}))
    run.text("note", "# Note")
    assert list(run.track("ab", unit="letters")) == ["a", "b"]
    assert (run.seed, run.stage, run.compute.precision, run.summary) == (7, "dedup", "bf16", {"kept": 3})
    assert run.listener.metrics_seen == [(None, {"kept": 3}), (4, {"loss": 0.5})]
    assert run.listener.tables["funnel"] == [{"documents": 5}]
    assert run.listener.charts["sizes"].series == {"n": [3, 4]}
    assert run.listener.texts == {"note": "# Note"}
    assert run.listener.beats == [(1, None, "letters", ""), (2, None, "letters", "")]
    assert run.scratch.is_dir()
    (run.checkpoints / "left").touch()
    assert (make_run(tmp_path / "new").checkpoints / "left").exists()


def test_a_project_runs_the_commands_of_its_files(project: Writes) -> None:
    made = project(FILES)
    done = made.run("check")
    assert (done.code, done.err) == (0, "")
    assert done.out == "1 entries of params.yaml and 1 stages of dvc.yaml are sound\n"
    done = made.dvc("repro")
    assert done.code == 0, done.text
    assert next(iter(Corpus(made.root / "data/corpus").texts())).startswith("The tide goes out")


@pytest.mark.parametrize(("use", "told"), [("fils", "did you mean"), ("files", "pathh")])
def test_a_project_tells_what_is_wrong_with_it(project: Writes, use: str, told: str) -> None:
    made = project(FILES)
    made.write({"params.yaml": {"curate": {"corpus": {"use": use, "with": {"pathh": "texts"}, "seed": 0}}}})
    done = made.run("check")
    assert done.code == 1
    assert done.err.startswith("error: ")
    assert told in done.err


def test_files_of_a_project_are_written_by_their_names(project: Writes) -> None:
    first, second = project({"a/b.json": {"é": [1]}, "c.yaml": [{"no": "no"}], "d.bin": b"\0"}), project({})
    assert json.loads((first.root / "a/b.json").read_text()) == {"é": [1]}
    assert yaml.safe_load((first.root / "c.yaml").read_text()) == [{"no": "no"}]
    assert (first.root / "d.bin").read_bytes() == b"\0"
    assert first.root != second.root
