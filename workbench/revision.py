"""What git knows of a workspace: the commit, and what differs from it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LARGEST_DIFF = 10 << 20
"""Bytes; a larger diff is data that should be an output of DVC, not source."""
_TIMEOUT = 60
_AS_PATCH = ("--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/")
"""Options of ``git diff`` that make a patch which applies, whatever the user's own settings."""


@dataclass(frozen=True)
class Revision:
    """State of a git work tree; empty strings outside git."""

    commit: str = ""
    branch: str = ""
    remote: str = ""
    """URL of ``origin``, without credentials."""
    dirty: bool = False


def read(directory: Path, made: Sequence[str] = ()) -> Revision:
    """The revision of the work tree that holds ``directory``; what the pipeline has ``made`` there is no change of its source."""
    commit = _git(directory, "rev-parse", "HEAD").strip()
    if not commit:
        return Revision()
    remote = without_credentials(_git(directory, "config", "--get", "remote.origin.url").strip())
    branch = _git(directory, "rev-parse", "--abbrev-ref", "HEAD").strip()
    return Revision(commit, branch, remote, bool(_git(directory, "status", "--porcelain", "--", *_source(made)).strip()))


def diff(directory: Path, made: Sequence[str] = ()) -> str:
    """A patch from HEAD to the files on the disk that ``git apply`` takes, new files that git does not ignore included.

    Args:
        directory: in the work tree.
        made: paths, relative to the directory, that the pipeline writes and that are therefore no source.
    """
    with tempfile.TemporaryDirectory() as folder:
        index = Path(_git(directory, "rev-parse", "--absolute-git-dir").strip() or folder) / "index"
        scratch = Path(folder) / "index"
        if index.is_file():
            shutil.copyfile(index, scratch)
        _git(directory, "add", "--intent-to-add", "--", ".", index=scratch)
        patch = _git(directory, "diff", *_AS_PATCH, "HEAD", "--", *_source(made), index=scratch)
    if len(patch) > LARGEST_DIFF:
        return f"The diff to HEAD has {len(patch)} characters and is not kept: commit, or leave data to DVC.\n"
    return patch


def additions(folder: Path) -> str:
    """A patch that adds every file of a folder, which is in no work tree, to an empty one."""
    _git(folder, "init", "--quiet")
    _git(folder, "add", "--force", "--", ".")
    return _git(folder, "diff", *_AS_PATCH, "--cached")


def without_credentials(url: str) -> str:
    """The URL without user name and password."""
    return re.sub(r"(?<=://)[^/@]*@", "", url)


def _source(made: Sequence[str]) -> list[str]:
    """What git is to look at: the whole work tree but those paths."""
    return [":/", *(f":(exclude,literal){path}" for path in made)]


def _git(directory: Path, *arguments: str, index: Path | None = None) -> str:
    """Output of a git command; empty when it fails or there is no git."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    if index is not None:
        environment["GIT_INDEX_FILE"] = str(index)
    command = ["git", "-C", str(directory), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT, env=environment, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else ""
