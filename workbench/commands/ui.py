"""Serves the user interface of the first tracker that has one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import typer

from workbench.errors import ComputeError, PluginError
from workbench.hosting import trackers
from workbench.tracking import watcher

LOOPBACK = "127.0.0.1"
_GRACE = 8.0
"""Seconds that a server has to end by itself."""


def serve(root: Path, port: int) -> None:
    """Complete the record from the journals, then serve it until Ctrl-C or SIGTERM.

    Raises:
        ComputeError: the port is taken, or the server failed.
        PluginError: no tracker of compute.yaml has a user interface.
        WorkbenchError: its store cannot be reached.
    """
    watcher.sync(root)
    for tracker in trackers.configured(root):
        with trackers.asked(tracker):
            command = tracker.ui_command(root, port)
            address = tracker.ui_address(root, port)
        if command:
            _require_free(port)
            typer.echo(f"{address}\n(end it with Ctrl-C)")
            _run(command)
            return
        if address:
            typer.echo(address)
            return
    what = f"none of the trackers {', '.join(trackers.names(root))} has a user interface"
    raise PluginError(what, "compute.yaml, key trackers", "name one that has")


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise ComputeError(f"port {port} of {LOOPBACK} is not free: {error.strerror}", "--port", "take another") from error


def _run(command: list[str]) -> None:
    """Run the server in a process group of its own, and end the whole group with this process."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    server = subprocess.Popen(command, start_new_session=True)
    try:
        code = server.wait()
    except KeyboardInterrupt:
        return
    finally:
        _end(server)
    raise ComputeError(f"the server ended by itself with exit code {code}", command[2], "read its messages above")


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _end(server: subprocess.Popen[bytes]) -> None:
    _signal(server.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        server.wait(_GRACE)
    _signal(server.pid, signal.SIGKILL)  # children outliving the server would keep the port
    server.wait()


def _signal(group: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)
