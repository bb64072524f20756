"""The MLflow tracker on a real PostgreSQL: the same record, and the same again when everything is replayed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_dvc import Step, Workspace
from mlflow_server import read
from ports import free_port

from workbench.tracking import watcher

pytest.importorskip("psycopg", reason="psycopg is not installed: pip install -e '.[test]'")
pytestmark = pytest.mark.slow
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
"""Where Debian puts them."""
EXPERIMENT = "workbench-default"
BASE = Step("pretrain", "pretrain", "causal", outputs={"out": "data/models/base"}, metrics={"loss": 0.2}, steps=300)
EVAL = Step("eval-perplexity@base", "eval", "perplexity", outputs={"out": "data/evals/base"}, metrics={"bits_per_byte": 1.5})


@pytest.fixture
def postgresql() -> Iterator[str]:
    """Address of an empty database; the server ends with the test."""
    if not PROGRAMS:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    folder = Path("/tmp") / f"workbench-postgresql-{os.getpid()}"  # its socket's path must be short
    folder.mkdir(mode=0o700)
    account = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []  # it refuses to run as root
    if account:
        shutil.chown(folder, "postgres")
    control = [*account, str(PROGRAMS[-1] / "pg_ctl"), "-D", str(folder / "data"), "-w"]
    port = free_port()
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder}"
    try:
        subprocess.run([*control, "initdb", "-o", "-U tester -A trust -E UTF8"], cwd=folder, check=True, capture_output=True)
        subprocess.run([*control, "start", "-o", options, "-l", str(folder / "log")], cwd=folder, check=True)
        yield f"postgresql://tester@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "stop", "-m", "immediate"], cwd=folder, check=False, capture_output=True)
        shutil.rmtree(folder)


def test_a_pipeline_is_recorded_once(postgresql: str, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", postgresql)
    made = Workspace.create(tmp_path, ["pretrain", EVAL.name], (checkout, checkout / "plugins/tracker-mlflow"), ["mlflow"])
    assert made.repro(BASE, EVAL) == 0
    before = read(postgresql, EXPERIMENT)
    assert sorted(run.status for run in before) == ["FINISHED"] * 3
    training = next(run for run in before if run.name == "pretrain · causal")
    assert sum(count for (name, _, _), count in training.points.items() if name == "loss") >= 300
    assert set(training.points.values()) == {1}
    for file in (tmp_path / ".workbench" / "journal").glob("*/state.json"):
        file.unlink()
    monkeypatch.chdir(tmp_path)
    watcher.sync(tmp_path)
    after = read(postgresql, EXPERIMENT)
    assert [(run.id, run.status, run.points) for run in after] == [(run.id, run.status, run.points) for run in before]
