"""The git state of a workspace: the commit, and the differences from it."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench import redaction
from workbench.lib import git
from workbench.lib.git import GitError
from workbench.records import patches
from workbench.records.patches import FileChange
from workbench.redaction import Redactor

LARGEST_DIFF = 10 << 20
"""Bytes; a larger diff is data that should be an output of DVC, not source."""
_SECONDS = 60
"""Time limit of a git command, since a run waits for it."""
_AS_PATCH = ("--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--src-prefix=a/", "--dst-prefix=b/")
"""Options with which ``git diff`` makes a patch that applies, regardless of the user's settings."""


@dataclass(frozen=True)
class Revision:
    """State of a git work tree; empty strings outside git."""

    commit: str = ""
    branch: str = ""
    remote: str = ""
    """URL of ``origin``, without credentials."""
    dirty: bool = False


def read(directory: Path, made: Sequence[str] = ()) -> Revision:
    """The revision of the work tree that holds ``directory``; files ``made`` by the pipeline do not count as changes."""
    commit = _found(directory, "rev-parse", "HEAD")
    if not commit:
        return Revision()
    remote = without_credentials(_found(directory, "config", "--get", "remote.origin.url"))
    branch = _found(directory, "rev-parse", "--abbrev-ref", "HEAD")
    try:
        dirty = bool(git.output(directory, "status", "--porcelain", "--", *_source(made), timeout=_SECONDS))
    except GitError:
        dirty = True  # the changes are unknown
    return Revision(commit, branch, remote, dirty)


def diff(directory: Path, made: Sequence[str] = ()) -> str:
    """A patch from HEAD to the files on the disk that ``git apply`` takes, new files that git does not ignore included.

    It contains no secrets: those in changes are hidden, and lines of HEAD with secrets are not shown. What git cannot
    read, such as a folder that is a repository without a commit, is named before the patch. If there can be no patch, the text
    says why.

    Args:
        directory: in the work tree.
        made: paths, relative to the directory, that the pipeline writes and that are therefore not source.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            patch = _Staged(directory, Path(folder)).patch(redaction.of_environment(), _source(made))
        except GitError as error:
            return f"The diff to HEAD could not be made: {error.what}\n"
    if len(patch) > LARGEST_DIFF:
        return f"The diff to HEAD has {len(patch)} characters and is not kept: commit, or leave data to DVC.\n"
    return patch


def additions(folder: Path) -> str:
    """A patch that adds every file of a folder, which is in no work tree, to an empty one; secrets are hidden.

    If there can be no patch, the text says why.
    """
    redactor = redaction.of_environment()
    for file in folder.rglob("*"):
        if file.is_file() and (hidden := _hidden(redactor, file.name, content := file.read_bytes())) != content:
            file.write_bytes(hidden)
    try:
        git.output(folder, "init", "--quiet", timeout=_SECONDS)
        git.output(folder, "add", "--force", "--", ".", timeout=_SECONDS)
        return git.output(folder, "diff", *_AS_PATCH, "--binary", "--cached", timeout=_SECONDS)
    except GitError as error:
        return f"The patch could not be made: {error.what}\n"


class _Staged:
    """The files on the disk in an index and an object store of our own, so that the repository's own stay unchanged."""

    def __init__(self, directory: Path, folder: Path) -> None:
        self._directory = directory
        (folder / "objects").mkdir()
        where = ("rev-parse", "--path-format=absolute", "--git-path")
        index, objects = (Path(_found(directory, *where, name)) for name in ("index", "objects"))
        others = os.environ.get("GIT_ALTERNATE_OBJECT_DIRECTORIES")
        self._variables = {
            "GIT_INDEX_FILE": str(folder / "index"),
            "GIT_OBJECT_DIRECTORY": str(folder / "objects"),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": os.pathsep.join(filter(None, (str(objects), others))),
        }
        if index.is_file():
            shutil.copy2(index, folder / "index")  # git reads a file again whose time is not before its index's
        self._git("add", "--update", "--", ":/")
        self._left_out = ""
        try:
            self._git("add", "--all", "--ignore-errors", "--", ".")
        except GitError as error:  # everything that could be added is
            self._left_out = f"Left out: {error.what}\n"

    def patch(self, redactor: Redactor, source: Sequence[str]) -> str:
        """The patch from HEAD of the source files."""
        sections = []
        for change in self._changes(source):
            old, new = self._content(change.old_mode, change.old), self._content(change.new_mode, change.new)
            hidden = _hidden(redactor, change.path, new)
            if _hidden(redactor, change.path, old) != old:
                sections.append(patches.without_old_lines(change, old, new, hidden))
                self._stage(change.old_mode, change.old, change.path)
            elif hidden != new:
                self._stage(change.new_mode, self._git("hash-object", "-w", "--stdin", stdin=hidden).strip(), change.path)
        patch = self._git("diff", *_AS_PATCH, "--binary", "--cached", "HEAD", "--", *source)
        return self._left_out + patch + "".join(sections)

    def _changes(self, source: Sequence[str]) -> Iterator[FileChange]:
        listed = self._git("diff", *_AS_PATCH, "--cached", "--raw", "-z", "--no-abbrev", "HEAD", "--", *source)
        fields = iter(listed.split("\0")[:-1])
        for facts, path in zip(fields, fields, strict=True):
            old_mode, new_mode, old, new, _ = facts.removeprefix(":").split(" ")
            yield FileChange(path, old_mode, new_mode, old, new)

    def _content(self, mode: str, name: str) -> bytes:
        """A regular file's bytes; empty for a missing file, a link or a submodule."""
        content = self._git("cat-file", "blob", name) if mode.startswith("100") else ""
        return content.encode("utf-8", "surrogateescape")

    def _stage(self, mode: str, name: str, path: str) -> None:
        self._git("update-index", "--add", "--cacheinfo", f"{mode},{name},{path}")

    def _git(self, *arguments: str, stdin: bytes = b"") -> str:
        return git.output(self._directory, *arguments, variables=self._variables, stdin=stdin, timeout=_SECONDS)


def _hidden(redactor: Redactor, path: str, content: bytes) -> bytes:
    """The content with secrets hidden; in non-text content, only known ones."""
    if b"\0" in content:
        for secret in redactor.values:
            content = content.replace(secret.encode("utf-8", "surrogateescape"), redaction.HIDDEN.encode())
        return content
    return redactor.file(path, content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def without_credentials(url: str) -> str:
    """The URL without user name and password."""
    return re.sub(r"(?<=://)[^/@]*@", "", url)


def _source(made: Sequence[str]) -> list[str]:
    """Arguments that limit git to the whole work tree except those paths."""
    return [":/", *(f":(exclude,literal){path}" for path in made)]


def _found(directory: Path, *words: str) -> str:
    """Output of a git command that may fail, such as a query for a missing setting; empty if it does."""
    try:
        return git.output(directory, *words, timeout=_SECONDS).strip()
    except GitError:
        return ""
