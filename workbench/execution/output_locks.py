"""Locks that keep two processes from writing the same result. The kernel frees them when their process ends, in any way.

.workbench/locks/OUTPUT.lock             in the workspace: whoever writes the output holds it; its time says when one did
.workbench/locks/FINGERPRINT.result      in the main workspace, which those of ``dvc exp run --temp`` share checkpoints with
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from workbench.errors import ComputeError
from workbench.lib import locks

FOLDER = Path(".workbench/locks")
PATIENCE_SECONDS = 1.0
"""For a stage whose dvc was killed: it ends within a fraction of that."""


@contextmanager
def only_writer(root: Path, stage: str, outputs: Iterable[Path]) -> Iterator[None]:
    """Lock every output of a stage, regardless of the stage's name and who starts it.

    Raises:
        ComputeError: another process holds one of them; names it.
    """
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        for output in sorted(outputs):
            file = held.enter_context(_output_lock(root, output).open("a+", encoding="utf-8"))
            if not locks.take(file, PATIENCE_SECONDS):
                what = f"process {locks.holder(file)} is writing {output}"
                raise ComputeError(what, f"stage {stage}", "wait until it has ended, or end it")
            locks.sign(file)
        yield


def written_since(root: Path, output: Path, began: float) -> bool:
    """Whether a stage has begun to write this output after that time (seconds since the epoch)."""
    file = _output_lock(root, output)
    return file.exists() and file.stat().st_mtime >= began


@contextmanager
def only_maker(main: Path, fingerprint: str, say: Callable[[str], None]) -> Iterator[None]:
    """Lock a result by its fingerprint, since its checkpoints and record are shared; waits while another process holds it."""
    file = _result_lock(main, fingerprint)
    file.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with file.open("a+", encoding="utf-8") as held:
            if not locks.take(held):
                other = f"process {locks.holder(held)}"
                say(f"waiting for {other}, which makes the same result in another workspace; then it is made again for this one")
                locks.wait(held)
                say(f"{other} has ended; the result is made again here: DVC shares what had ended before this stage began")
            if not (file.exists() and os.path.samestat(os.fstat(held.fileno()), file.stat())):
                continue  # its holder has removed it
            locks.sign(held)
            try:
                yield
            finally:
                file.unlink(missing_ok=True)
            return


def is_being_made(main: Path, fingerprint: str) -> bool:
    """Whether a process holds a result's lock."""
    file = _result_lock(main, fingerprint)
    if not file.exists():
        return False
    with file.open("a+", encoding="utf-8") as opened:
        return not locks.take(opened)


def _result_lock(main: Path, fingerprint: str) -> Path:
    return main / FOLDER / f"{fingerprint}.result"


def _output_lock(root: Path, output: Path) -> Path:
    return root / FOLDER / f"{output.as_posix().replace('/', '+')}.lock"
