"""Serves the user interface of the first tracker that has one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import typer

from workbench import compute, watcher
from workbench.errors import PluginError
from workbench.host import load_trackers
from workbench.kinds.tracker import Tracker


def serve(root: Path, port: int) -> None:
    """Complete the record from the journals, then become the server; it ends with Ctrl-C.

    Raises:
        PluginError: no tracker of compute.yaml has a user interface.
    """
    watcher.sync(root)
    names = compute.load_config(root).trackers
    for tracker in load_trackers(root, names):
        command = cast("Tracker[Any]", tracker).ui_command(root, port)
        if command:
            typer.echo(f"http://127.0.0.1:{port}  (end it with Ctrl-C)")
            os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    raise PluginError(
        f"none of the trackers {', '.join(names)} has a user interface", "compute.yaml, key trackers", "name one that has"
    )
