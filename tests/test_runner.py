"""Stages in processes of their own, with a third-party plugin that gets into every kind of trouble."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import plugin_project
import psutil
import pytest
import small_pipeline
import workspace
import yaml
from small_pipeline import each
from workspace import Done, Workspace

from workbench.lib import processes

PIPELINE = {
    "curate": each("curate", {}, {"out": "data/${key}", "decisions": "data/decisions/${key}"}, "data/${key}.json"),
}
FLOWS = ("--out", "data/corpus", "--decisions", "data/decisions/corpus", "--metrics", "data/corpus.json")
SECONDS = 120


@pytest.fixture
def made(tmp_path: Path) -> Workspace:
    """A pipeline of one stage, without git and without a tracker, which would take time and add nothing here."""
    made = small_pipeline.create(tmp_path / "root", PIPELINE, {}, site=tmp_path / "site", own_core=False)
    configure(made.root)
    for name in ("trouble", "short"):
        plugin_project.install(tmp_path / "site", f"stranger-{name}", plugin_project.stranger(name))
    return made


def configure(root: Path, filters: tuple[dict[str, Any], ...] = (), **config: Any) -> None:
    entry = {"use": "trouble", "with": config, "filters": list(filters)}
    (root / "params.yaml").write_text(yaml.safe_dump({"curate": {"corpus": entry}}))


def run(made: Workspace) -> Done:
    """The stage alone, as a person may start it."""
    assert made.run("resolve").code == 0
    done = made.run("run", "curate.corpus", *FLOWS)
    made.wait()
    return done


def ends(root: Path) -> list[tuple[str, str]]:
    """How the runs in the journals ended: event type and status."""
    files = sorted((root / ".workbench" / "journal").glob("*/[!_]*.jsonl"), key=lambda file: file.stat().st_mtime)
    found = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return [(event["type"], event.get("status", "")) for event in found if event["type"] in ("StageFinished", "StageFailed")]


def await_file(path: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.05)


def stage_process(made: Workspace) -> psutil.Process:
    return psutil.Process(int((made.root / ".workbench" / "locks" / "data+corpus.lock").read_text()))


@pytest.fixture
def held(made: Workspace, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A ``dvc repro`` whose stage waits in the midst of its work."""
    (made.root / "hold").touch()
    shell = getattr(request, "param", "/bin/bash")
    process = made.start(str(Path(sys.executable).with_name("dvc")), "repro", SHELL=shell)
    await_file(made.root / "held")
    yield process
    (made.root / "hold").unlink(missing_ok=True)
    process.kill()
    process.communicate()
    made.wait()


def test_stage_that_ends_well(made: Workspace) -> None:
    done = run(made)
    assert done.code == 0, done.text
    assert done.text.rstrip().splitlines()[-1].startswith("curate.corpus: done in ")
    assert json.loads((made.root / "data" / "corpus.json").read_text())["kept"] == 3
    assert ends(made.root) == [("StageFinished", "")]
    assert list((made.root / ".workbench" / "scratch").iterdir()) == []


def test_a_stage_imports_the_distributions_of_its_plugins_alone(made: Workspace) -> None:
    """The command that imports it leaves a file of its name; the watcher, which needs the trackers, imports all."""
    touching = "import sys\nfrom pathlib import Path\n\nPath(sys.argv[1]).touch()\n"
    code = touching + plugin_project.stranger("short", name="other")
    plugin_project.install(made.root.parent / "site", "stranger-other", code)
    assert made.run("resolve").code == 0
    assert (made.root / "resolve").exists()
    done = made.run("run", "curate.corpus", *FLOWS)
    assert done.code == 0, done.text
    assert not (made.root / "run").exists()


def test_a_plugin_that_another_distribution_has_come_to_bring_still_runs(made: Workspace) -> None:
    site = made.root.parent / "site"
    assert made.run("resolve").code == 0
    shutil.rmtree(site / "stranger_trouble-1.0.dist-info")
    plugin_project.install(
        site, "stranger-renamed", "from stranger_trouble import workbench_plugins\n\n__all__ = ['workbench_plugins']\n"
    )
    (site / "stranger_renamed-1.0.dist-info" / "entry_points.txt").write_text(
        "[workbench]\nstranger-renamed = stranger_trouble\n"
    )
    done = made.run("run", "curate.corpus", *FLOWS)
    assert done.code == 0, done.text


@pytest.mark.slow
def test_same_inputs_give_the_same_bytes(made: Workspace) -> None:
    run(made)
    first = {file.name: file.read_bytes() for file in (made.root / "data").rglob("*") if file.is_file()}
    run(made)
    assert {file.name: file.read_bytes() for file in (made.root / "data").rglob("*") if file.is_file()} == first


def test_plugin_that_raises_commits_nothing_and_shows_its_traceback(made: Workspace) -> None:
    configure(made.root, trouble="raise")
    done = run(made)
    assert done.code == 1
    assert "RuntimeError: the plugin is at its wits' end" in done.err
    assert "stranger_trouble" in done.err
    assert not (made.root / "data").exists()
    assert ends(made.root) == [("StageFailed", "FAILED")]
    assert list((made.root / ".workbench" / "scratch").iterdir()) == []


def test_failure_keeps_the_older_output(made: Workspace) -> None:
    run(made)
    before = (made.root / "data" / "corpus" / "part-00000.parquet").read_bytes()
    configure(made.root, trouble="raise", documents=9)
    assert run(made).code == 1
    assert (made.root / "data" / "corpus" / "part-00000.parquet").read_bytes() == before


def test_wrong_schema_names_the_column_and_commits_nothing(made: Workspace) -> None:
    configure(made.root, trouble="schema")
    done = run(made)
    assert done.code == 1
    assert "column 'text' is missing; found id, txt" in done.err
    assert "output of stage curate.corpus: data/corpus/part-00000.parquet" in done.err
    assert "Traceback" not in done.err
    assert not (made.root / "data").exists()
    assert ends(made.root) == [("StageFailed", "FAILED")]


def test_no_document_left_names_the_filter(made: Workspace) -> None:
    configure(made.root, ({"use": "short", "with": {"limit": 0}},))
    done = run(made)
    assert done.code == 1
    assert "no document is left of 3" in done.err
    assert "short:long" in done.err
    assert "Traceback" not in done.err
    assert not (made.root / "data").exists()


def test_empty_source_says_so(made: Workspace) -> None:
    configure(made.root, trouble="nothing")
    done = run(made)
    assert done.code == 1
    assert "no document is left of 0" in done.err
    assert "the source is empty" in done.err


@pytest.mark.slow
def test_full_disk_says_so_and_keeps_the_older_output(made: Workspace) -> None:
    run(made)
    before = (made.root / "data" / "corpus" / "part-00000.parquet").read_bytes()
    configure(made.root, trouble="big")
    scratch = made.root / ".workbench" / "scratch"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", scratch], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a small file system can't be mounted here")
    try:
        done = run(made)
    finally:
        subprocess.run(["umount", scratch], check=True)
    assert done.code == 1
    assert "the disk is full" in done.err
    assert "dvc gc -w" in done.err
    assert "Traceback" not in done.err
    assert (made.root / "data" / "corpus" / "part-00000.parquet").read_bytes() == before
    assert ends(made.root)[-1] == ("StageFailed", "FAILED")


def test_second_writer_names_the_first(made: Workspace, held: subprocess.Popen[str]) -> None:
    first = stage_process(made)
    done = made.run("run", "curate.corpus", *FLOWS)
    assert done.code == 1
    assert f"process {first.pid} is writing data/corpus" in done.err
    (made.root / "hold").unlink()
    assert held.wait(SECONDS) == 0
    assert json.loads((made.root / "data" / "corpus.json").read_text())["kept"] == 3


def test_killed_stage_leaves_no_half_output_and_the_next_run_is_right(made: Workspace, held: subprocess.Popen[str]) -> None:
    stage_process(made).kill()
    assert held.wait(SECONDS) != 0
    assert not (made.root / "data" / "corpus").exists()
    (made.root / "hold").unlink()
    made.wait()
    done = made.repro()
    assert "curate@corpus" in workspace.ran(done)
    assert json.loads((made.root / "data" / "corpus.json").read_text())["kept"] == 3
    assert list((made.root / ".workbench" / "scratch").iterdir()) == []


@pytest.mark.parametrize("held", ["/bin/bash", "/bin/sh"], indirect=True)
def test_stage_dies_with_a_dvc_that_is_killed(made: Workspace, held: subprocess.Popen[str]) -> None:
    """Through a shell that gives its place to the stage, and through one (dash) that stays and outlives DVC."""
    pid = stage_process(made).pid
    started = processes.process_start(pid)
    os.kill(held.pid, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while processes.is_alive(pid, started):
        assert time.monotonic() < deadline, "the stage outlived the dvc that started it"
        time.sleep(0.05)
    assert not (made.root / "data" / "corpus").exists()
