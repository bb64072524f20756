"""How the workbench uses pip: to find compatible versions, and to install them into another environment."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from workbench.errors import ComputeError, PluginError
from workbench.hosting.naming import canonical

_CONSTRAINED = "(constraint)"
_CAUSE, _ADVICE = "The conflict is caused by:", "To fix this"
_COLLECTING = "Collecting "


def read_pins(text: str) -> dict[str, str]:
    """Canonical name → version of the lines ``name==version``."""
    lines = [line.partition("==") for line in text.splitlines() if line and not line.startswith("#")]
    return {name: version for name, _, version in lines}


def fitting(pins: Mapping[str, str], requirements: Sequence[str]) -> dict[str, str]:
    """The pins that contradict none of the requirements; those of other packages stay."""
    from packaging.requirements import Requirement

    wanted = [Requirement(line) for line in requirements]
    excluded = {
        canonical(line.name)
        for line in wanted
        if not line.specifier.contains(pins.get(canonical(line.name), "0"), prereleases=True)
    }
    return {name: version for name, version in pins.items() if name not in excluded}


def resolve(requirements: Sequence[str], preferred: Mapping[str, str], where: str, fix: str) -> dict[str, str]:
    """Versions that together satisfy the requirements, without local labels; the preferred ones if available.

    Raises:
        PluginError: the requirements contradict one another; ``where`` and ``fix`` go into the message.
        ComputeError: pip is missing, or finds no such release.
    """
    code, report, said = _dry_run(requirements, preferred)
    if code and any(_CONSTRAINED in line for line in said):
        code, report, said = _dry_run(requirements, {})
    if code:
        raise _unresolvable(said, where, fix)
    for item in report["install"]:
        if item["is_direct"]:
            what = f"{item['metadata']['name']} is required by URL, without a version to pin"
            raise PluginError(what, where, "require a released version of it")
    found = {canonical(item["metadata"]["name"]): item["metadata"]["version"].partition("+")[0] for item in report["install"]}
    return dict(sorted(found.items()))


def install(python: Path, pins: Path, *, keep: int, progress: Callable[[int], None]) -> str:
    """Install exactly what a file of pins names; returns pip's last error; empty on success.

    Args:
        python: interpreter of the environment, which needs no pip of its own.
        pins: file of lines ``name==version``.
        keep: descriptor that pip holds open, so that a lock on it lasts until pip ends, even if this process ends first.
        progress: called with the number of packages collected so far.
    """
    said, collected = [], 0
    options = ("--no-deps", "--no-compile", "--progress-bar", "off", "--requirement", str(pins))
    with _pip("--python", str(python), "install", *options, keep=(keep,)) as process:
        for line in process.stdout or ():
            said.append(line.rstrip())
            if line.startswith(_COLLECTING):
                collected += 1
                progress(collected)
    return _last_error(said) if process.returncode else ""


def _dry_run(requirements: Sequence[str], preferred: Mapping[str, str]) -> tuple[int, Any, list[str]]:
    with tempfile.TemporaryDirectory() as name:
        wanted, constraints, report = (Path(name) / file for file in ("requirements.txt", "constraints.txt", "report.json"))
        wanted.write_text("\n".join(requirements), encoding="utf-8")
        constraints.write_text("\n".join(f"{key}=={value}" for key, value in preferred.items()), encoding="utf-8")
        files = ("--requirement", str(wanted), "--constraint", str(constraints))
        with _pip("install", "--dry-run", "--ignore-installed", "--report", str(report), *files) as process:
            said = [line.rstrip() for line in process.stdout or ()]
        return process.returncode, json.loads(report.read_bytes()) if process.returncode == 0 else None, said


def _unresolvable(said: Sequence[str], where: str, fix: str) -> PluginError | ComputeError:
    if _CAUSE not in said:
        return ComputeError(
            f"pip finds no versions that fit together: {_last_error(said)}",
            where,
            "fix the requirement, or check that the package index can be reached",
        )
    block = said[said.index(_CAUSE) + 1 :]
    end = next((place for place, line in enumerate(block) if line.startswith(_ADVICE)), len(block))
    causes = "; ".join(line.strip() for line in block[:end] if line.strip())
    return PluginError(f"its requirements conflict: {causes}", where, fix)


def _last_error(said: Sequence[str]) -> str:
    errors = [line for line in said if line.startswith("ERROR:")] or list(said)
    return errors[-1].removeprefix("ERROR: ") if errors else "it said nothing"


@contextmanager
def _pip(*words: str, keep: tuple[int, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    """Run this interpreter's pip to completion, with stdout and stderr combined."""
    if find_spec("pip") is None:
        raise ComputeError("pip is missing, which is needed to create environments", sys.prefix, "run `python -m ensurepip`")
    command = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *words)
    out = subprocess.PIPE
    with subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, text=True, errors="replace", pass_fds=keep) as process:
        yield process
