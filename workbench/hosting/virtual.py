"""A virtual environment created once from pins, by whoever asks first."""

from __future__ import annotations

import venv
from pathlib import Path

from workbench.hosting import installer
from workbench.lib import locks
from workbench.lib.commit import remove, write_text
from workbench.lib.console import Console

_WHOLE = "whole.txt"
"""File of a finished environment, written last: its pins."""


def ensure(folder: Path, pins: Path, name: str, console: Console) -> str:
    """Create the environment unless it exists; returns why that failed, or an empty text on success.

    An environment cannot be moved, so it is created in place, by one process at a time.

    Args:
        folder: its location; the name identifies the pins.
        pins: a file of lines ``name==version``.
        name: what the console calls it.
    """
    if _is_whole(folder):
        return ""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("a", encoding="utf-8") as file:
        if not locks.take(file):
            console.say("waiting for another process that makes this environment")
            locks.wait(file)
        return "" if _is_whole(folder) else _make(folder, pins, name, console, file.fileno())


def python_of(folder: Path) -> Path:
    """The environment's interpreter."""
    return folder / "bin" / "python"


def _is_whole(folder: Path) -> bool:
    return (folder / _WHOLE).is_file() and python_of(folder).exists()


def _make(folder: Path, pins: Path, name: str, console: Console, descriptor: int) -> str:
    text = pins.read_text(encoding="utf-8")
    count = len(installer.read_pins(text))
    console.say(f"making the environment of {name}, {count} packages")
    remove(folder)
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    error = installer.install(
        python_of(folder),
        pins,
        keep=descriptor,
        progress=lambda collected: console.progress(collected, count, "packages", "environment"),
    )
    if not error:
        write_text(folder / _WHOLE, text)
    return error
