"""Runs all the checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workbench.commands.doctor import files, machine, packages, project
from workbench.commands.doctor.check import Check
from workbench.errors import WorkbenchError


def examine(root: Path) -> list[Check]:
    """Make every check.

    Args:
        root: the workspace, which must be the current directory.
    """
    return [check for name, look in _looks().items() for check in _guarded(name, look, root)]


def lines(checks: list[Check]) -> Iterator[str]:
    """The checks for people: one line each, and one more with the fix."""
    for check in checks:
        yield f"{check.status:4}  {check.name:14} {check.what}"
        if check.fix:
            yield f"      {'':14} fix: {check.fix}"


def records(checks: list[Check]) -> list[dict[str, Any]]:
    """The checks for programs."""
    return [asdict(check) for check in checks]


def _looks() -> Mapping[str, Callable[[Path], Iterator[Check]]]:
    return {
        "git": project.git,
        "files": files.readable,
        "dvc": project.dvc,
        "dvc locks": project.locks,
        "stage locks": project.stage_locks,
        "journal": project.journal,
        "store": project.stores,
        "quarantine": project.quarantine,
        "checkpoints": project.checkpoints,
        "environments": project.environments,
        "python": lambda _: packages.python(),
        "packages": packages.pins,
        "requirements": packages.requirements,
        "path files": packages.path_files,
        "installs": packages.installs,
        "plugins": packages.plugins,
        "disk": machine.disk,
        "threads": machine.threads,
        "gpu": machine.gpu,
        "browser": lambda _: machine.browser(),
    }


def _guarded(name: str, look: Callable[[Path], Iterator[Check]], root: Path) -> Iterator[Check]:
    """A check that cannot run is a failure, and the other checks continue."""
    try:
        yield from look(root)
    except WorkbenchError as error:
        yield Check(name, "fail", f"{error.what} ({error.where})", error.fix)
    except OSError as error:
        yield Check(name, "fail", f"{error.strerror}: {error.filename}", "see that it can be read")
    except Exception as error:  # noqa: BLE001 - no broken file may keep the other checks from being made
        line = next(iter(str(error).splitlines()), "")
        yield Check(name, "fail", f"the check itself failed: {type(error).__name__}: {line}", "the other checks may say why")
