"""A real MLflow server on the loopback interface, which tests kill, stop and start again, and what its store holds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from ports import free_port

Point = tuple[str, int, float]
"""Metric, step, value."""
SECONDS = 240
"""Deadline of a start: it takes 8 s of processor time."""


@dataclass
class Server:
    """The app that ``mlflow server`` serves, in one process, with SQLite and artifacts below a folder."""

    folder: Path
    port: int = field(default_factory=lambda: free_port())
    log: Path | None = None
    """By default beside the folder."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """What MLFLOW_TRACKING_URI names it by."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, unless it runs, and wait until it answers."""
        if self.process is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "mlflow.server.fastapi_app:app",
        ]
        with (self.log or self.folder.with_name(f"{self.folder.name}.log")).open("ab") as log:
            self.process = subprocess.Popen(command, env=self._variables(), stdout=log, stderr=log)
        deadline = time.monotonic() + SECONDS
        while not self._answers():
            assert self.process.poll() is None, f"the server has ended: {log.name}"
            assert time.monotonic() < deadline, f"the server does not answer: {log.name}"
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        """SIGSTOP: the kernel still takes connections, and nobody answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it answers all that has been asked meanwhile."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        with suppress(OSError), urlopen(f"{self.uri}/health", timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    def _variables(self) -> dict[str, str]:
        """As ``mlflow server`` sets them for its worker."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        return {
            **kept,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{self.folder / 'mlflow.db'}",
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(self.folder / "artifacts"),
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        }


@dataclass(frozen=True)
class Stored:
    """A run as the store has it."""

    id: str
    name: str
    status: str
    tags: Mapping[str, str]
    points: Counter[Point]
    """How often each is there."""


def read(uri: str, experiment: str) -> list[Stored]:
    """All runs of an experiment; deleted ones are none."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    return [_stored(client, run) for run in client.search_runs([found.experiment_id])] if found is not None else []


def _stored(client: Any, run: Any) -> Stored:
    history = [point for name in run.data.metrics for point in client.get_metric_history(run.info.run_id, name)]
    points = Counter((point.key, point.step, point.value) for point in history)
    return Stored(run.info.run_id, run.info.run_name, run.info.status, run.data.tags, points)
