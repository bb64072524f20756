"""Describes what went wrong in a stage, for its record and its user."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from workbench.errors import ComputeError, WorkbenchError
from workbench.project.plugin_lock import Resolved

_NO_MEMORY = ("can't allocate memory", "cannot allocate memory", "unable to allocate", "failed to allocate", "out of memory")
"""In messages of libraries that raise RuntimeError: torch on CPU and CUDA, arrow, zstandard."""
_INTERRUPTED = 130
"""Exit code of a program that SIGINT has ended, by the convention of shells."""


@dataclass(frozen=True)
class Failure:
    """How a failed stage ended."""

    status: Literal["FAILED", "KILLED"]
    error: BaseException
    """The error to raise: a WorkbenchError if there is more to say than the traceback."""
    code: int
    """The process's exit code."""
    record: str
    """The message, with the plugins whose code ran."""
    traceback: str
    """Empty if it would not help whoever can fix the problem."""


def explain(error: BaseException, stage: str, resolved: Resolved) -> Failure:
    """Describe the error that ended a stage; the error to be raised lists the plugins in a note."""
    told = _told(error, stage, resolved)
    plugins = plugins_of(resolved)
    told.add_note(f"  code:  {plugins}")
    trace = "" if told is error and isinstance(error, WorkbenchError) else "".join(traceback.format_exception(error))
    interrupted = isinstance(error, KeyboardInterrupt)
    record = f"{str(told) or type(told).__name__}\n  code:  {plugins}"
    return Failure("KILLED" if interrupted else "FAILED", told, _INTERRUPTED if interrupted else 1, record, trace)


def plugins_of(resolved: Resolved) -> str:
    """Name, distribution and version of every plugin of a stage."""
    return ", ".join(f"{used.plugin.kind} {used.plugin.name} ({used.distribution} {used.version})" for used in resolved.used)


def _told(error: BaseException, stage: str, resolved: Resolved) -> BaseException:
    where = f"stage {stage}"
    if isinstance(error, KeyboardInterrupt):
        return ComputeError("interrupted", where, "run `dvc repro` again to continue")
    if isinstance(error, SystemExit):
        return RuntimeError(f"the stage's code called sys.exit({error.code!r}) in the middle of its work")
    if any(_is_full(cause) for cause in _causes(error)):
        fix = "free space (`dvc gc -w` drops unused cache), run `dvc repro` again"
        return ComputeError(f"the disk is full: {error}", where, fix)
    if any(_is_memory(cause) for cause in _causes(error)):
        knobs = [key for key in resolved.locked()["config"] if "batch" in key or "length" in key]
        config = f"{resolved.entry.address}.with of params.yaml"
        fix = f"lower {' or '.join(knobs)} in {config}" if knobs else f"give it more memory, or less to do in {config}"
        return ComputeError(f"out of memory: {error}".rstrip(": "), where, f"{fix}, run `dvc repro` again")
    if isinstance(error, OSError) and error.errno == errno.EXDEV:
        fix = "keep .workbench and the outputs on one file system"
        return ComputeError(f"an output cannot be renamed into its place: {error}", where, fix)
    return error


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _is_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _is_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NO_MEMORY)
