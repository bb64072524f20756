"""Calls of git."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from workbench.errors import WorkbenchError


class GitError(WorkbenchError):
    """Git is missing, failed, or took too long; ``what`` is git's own message on one line."""


def call(
    directory: Path, *words: str, variables: Mapping[str, str] | None = None, stdin: bytes = b"", timeout: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a git command in a directory, whether it succeeds or not; output bytes that are not UTF-8 become surrogates.

    Args:
        directory: where to run it.
        words: the command and its arguments.
        variables: added to this process's environment.
        stdin: what it reads.
        timeout: seconds that it may take.

    Raises:
        GitError: git is missing or took too long.
    """
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", **(variables or {})}
    command = ["git", "-C", str(directory), *words]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout, env=environment, check=False, input=stdin)
    except FileNotFoundError as error:
        raise GitError("the program git is missing", str(directory), "install git") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GitError(str(error), str(directory)) from error
    printed, said = done.stdout.decode("utf-8", "surrogateescape"), done.stderr.decode("utf-8", "replace")
    return subprocess.CompletedProcess(command, done.returncode, printed, said)


def output(
    directory: Path, *words: str, variables: Mapping[str, str] | None = None, stdin: bytes = b"", timeout: float | None = None
) -> str:
    """What a git command prints; see :func:`call`.

    Raises:
        GitError: it failed as well.
    """
    done = call(directory, *words, variables=variables, stdin=stdin, timeout=timeout)
    if done.returncode:
        raise GitError("; ".join(done.stderr.split("\n")).strip("; "), f"git {words[0]}, in {directory}")
    return done.stdout
