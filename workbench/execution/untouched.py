"""What must not change while a stage runs: its inputs, its entry in plugins-lock.json, other stages' outputs.

DVC hashes the dependencies when the command has ended, so that a result would be recorded as made from what they are by then.
Of the source tree nothing is watched: people edit it while a training runs, and the next `resolve` sees it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.artifacts import digests, dvc_lock
from workbench.errors import ArtifactError, PipelineError
from workbench.events import Artifact
from workbench.execution import output_locks
from workbench.lib.layout import LOCK_FILE
from workbench.project import plugin_lock
from workbench.project.plugin_lock import Locked

Looks = Mapping[str, tuple[int, int, int]]
"""Path of a file → its size, modification time in nanoseconds, and inode."""


@dataclass(frozen=True)
class Untouched:
    """The state when a stage began."""

    root: Path
    stage: str
    address: str
    locked: Locked
    inputs: Mapping[Path, str]
    """Path → DVC's hash."""
    seen: Mapping[Path, Looks]
    """The inputs and the outputs of other stages."""
    began: float
    """Seconds since the epoch."""

    def require(self) -> None:
        """Look again.

        Raises:
            PipelineError: the stage's entry in plugins-lock.json has changed.
            ArtifactError: an input has changed, or an output of another stage that no other stage has written since.
        """
        if plugin_lock.read_entry(self.root, self.address) != self.locked:
            what = f"its entry in {LOCK_FILE} changed while it ran, and DVC would record the new entry as what ran"
            fix = "run `dvc repro` again, and let `workbench resolve` and git wait for it"
            raise PipelineError(what, f"stage {self.stage}", fix)
        changed = [path for path, looks in self.seen.items() if _look(path) != looks]
        for path in changed:
            if path in self.inputs and _digest(path) != self.inputs[path]:
                what = "this input has changed while the stage ran, and DVC would record it as what the stage has read"
                raise ArtifactError(what, f"{path}, stage {self.stage}", self._fix)
        recorded = dvc_lock.outputs(self.root) if changed else {}
        for path in changed:
            written = output_locks.written_since(self.root, path, self.began)
            if path not in self.inputs and not written and _digest(path) != recorded.get(path.as_posix()):
                what = "this output of another stage has changed while the stage ran"
                raise ArtifactError(what, f"{path}, stage {self.stage}", self._fix)

    @property
    def _fix(self) -> str:
        return "run `dvc repro` again, which restores it; if the plugin did it, fix it: it may write only to its own outputs"


def look(
    root: Path, stage: str, address: str, locked: Locked, inputs: Sequence[Artifact], outputs: Sequence[Path], began: float
) -> Untouched:
    """Record the current state: names, sizes and times, without reading any file."""
    read = {Path(artifact.path): artifact.digest for artifact in inputs}
    others = {path for path in map(Path, dvc_lock.outputs(root)) if not _meets(path, outputs)}
    return Untouched(root, stage, address, locked, read, {path: _look(path) for path in {*read, *others}}, began)


def _meets(path: Path, outputs: Sequence[Path]) -> bool:
    return any(path == output or path in output.parents or output in path.parents for output in outputs)


def _look(path: Path) -> Looks:
    return {file: (stat.st_size, stat.st_mtime_ns, stat.st_ino) for file, stat in _files(path)}


def _files(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    if path.is_dir():
        for folder, _, names in os.walk(path):
            for name in names:
                yield from _files(Path(folder, name))
    elif path.exists():
        yield str(path), path.stat()


def _digest(path: Path) -> str:
    return digests.of(path) if path.exists() else ""
