"""MLflow's own server, as ``workbench ui`` starts it: on this machine alone, with the middleware that refuses foreign hosts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from workbench.errors import ComputeError
from workbench_tracker_mlflow import location

LOOPBACK = "127.0.0.1"
UNSAFE = {
    "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "",
    "MLFLOW_SERVER_ALLOWED_HOSTS": "",
    "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": "",
    "MLFLOW_SERVER_X_FRAME_OPTIONS": "",
    "MLFLOW_GUNICORN_OPTS": "",
    "MLFLOW_UVICORN_OPTS": "",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}
"""Variables that can open MLflow's server to others or let it load pickles, with the only value that does not."""


def command(workspace: Path, uri: str, port: int) -> list[str]:
    """The server's words, for a store that is a database.

    Raises:
        ComputeError: the environment asks for a server that is less protected.
    """
    for name, harmless in UNSAFE.items():
        if os.environ.get(name, harmless) != harmless:
            what = f"{name} is set, which takes away some of what protects MLflow's server and this machine"
            raise ComputeError(
                what, "the environment", f"`unset {name}`, or start `mlflow server` yourself, behind what guards it"
            )
    artifacts = location.address(workspace.resolve())
    stores = ["--backend-store-uri", uri, "--default-artifact-root", artifacts]
    network = ["--host", LOOPBACK, "--port", str(port), "--workers", "1"]
    return [sys.executable, "-m", "mlflow", "server", *stores, *network, "--uvicorn-opts", "--no-access-log"]
