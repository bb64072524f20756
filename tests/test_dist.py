"""Without a clone: wheels installed into an environment, a project written in an empty folder, run, tracked and reproduced."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import beside
import pytest
import workspace
from test_recipes import OWN_SMALLER
from workspace import PROJECT, Workspace

DEFAULT = [line.split()[-1] for line in (PROJECT / "plugins/default.txt").read_text().splitlines() if line.startswith("-e")]


def project(folder: Path) -> dict[str, object]:
    """The table ``project`` of a pyproject.toml."""
    found: dict[str, object] = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def test_the_extra_names_the_plugins_of_the_default_pipeline() -> None:
    named = {f"{project(PROJECT / folder)['name']}>=0.1,<0.2" for folder in DEFAULT}
    assert set(project(PROJECT)["optional-dependencies"]["default"]) == named  # type: ignore[index]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A project in a folder far from the repository, run by wheels alone."""
    folder = tmp_path_factory.mktemp("dist")
    wheels = folder / "wheels"
    build = (
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--wheel-dir",
        str(wheels),
    )
    subprocess.run((*build, str(PROJECT), *(str(PROJECT / name) for name in DEFAULT)), check=True)
    python = beside.create(folder / "venv")
    installed = python.call("pip", "install", "--quiet", "--force-reinstall", *map(str, wheels.glob("*.whl")), cwd=folder)
    assert installed.returncode == 0, installed.stderr
    texts = folder / "texts"
    texts.mkdir()
    for file in sorted((PROJECT / "docs").rglob("*.md")):
        (texts / file.name).write_bytes(file.read_bytes())
    bare = Workspace.at(folder)
    path = os.pathsep.join([str(python.root / "bin"), bare.variables["PATH"]])
    bare = Workspace(folder, {**bare.variables, "PATH": path})
    words = [
        "--stages",
        "curate=files,dedup=minhash,tokenize,pretrain=causal,eval=perplexity",
        "--set",
        f"curate.corpus.path={texts}",
        "--into",
        ".",
    ]
    done = bare.call("workbench", "new-recipe", "mine", *words)
    assert done.code == 0, done.text
    mine = Workspace(folder / "mine", bare.variables)
    mine.edit("params.yaml", lambda content: workspace.change(content, OWN_SMALLER))
    mine.git("init", "--quiet", "--initial-branch=main")
    workspace.commit(mine)
    yield mine
    mine.wait()


@pytest.mark.slow
def test_a_project_of_wheels_runs_is_tracked_and_reproduces(made: Workspace) -> None:
    where = made.call("python", "-c", "import workbench; print(workbench.__file__)").out
    assert str(made.root.parent / "venv") in where
    made.repro()
    assert workspace.ran(made.repro()) == ["resolve"]
    synced = made.call("workbench", "sync")
    assert synced.code == 0, synced.text
    asked = "from mlflow import MlflowClient as C\nc = C('sqlite:///.workbench/mlflow.db')\n"
    asked += "runs = c.search_runs([e.experiment_id for e in c.search_experiments()], \"tags.`workbench.stage` = 'tokenize'\")\n"
    asked += "print(runs[0].info.run_id)"
    run = made.call("python", "-c", asked).out.strip()
    done = made.call("workbench", "reproduce", run)
    assert done.code == 0, done.text
    assert "BIT-EXACT" in done.out
