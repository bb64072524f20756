"""Watches over a stage from outside its process, which may be killed, hang, exit without a record or leave children behind.

``workbench run`` forks at its start. The child does the stage's work; the parent is its guard, and DVC waits for the guard. The
kernel ends the child when its guard is killed, and gives every orphan below the guard to the guard (Linux, prctl(2)).
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal

import psutil

from workbench import events
from workbench.errors import ComputeError, PluginError, WorkbenchError
from workbench.execution import pulse, strays
from workbench.execution.pulse import Pulse
from workbench.lib import parent_death
from workbench.lib.processes import is_alive, process_start
from workbench.tracking.journal import Journal, forget_interrupted
from workbench.tracking.session import GUARD_VARIABLE, Session, guard_above, note_refusal

LOOK_SECONDS = 0.25
"""Between two looks at DVC, the limits and the pulse."""
STOPPED_SECONDS = 2.0
"""Between two looks, above which the guard itself was stopped, as by Ctrl-Z: that time counts towards no limit."""
GRACE_SECONDS = 10.0
"""For a process that has nothing more to do, or was told to end."""
PARTING_SECONDS = 1.0
"""For what the stage has left running, before it is killed."""
SILENCE_SECONDS = 300.0
"""Without a sign of life before the guard says so, for the first time."""
_CRASHES = frozenset({signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV})


@dataclass(frozen=True)
class Limits:
    """When a stage has taken too long, in seconds."""

    time: float | None
    """From its start."""
    silence: float | None
    """From its last sign of progress."""


@dataclass(frozen=True)
class Word:
    """How a stage ended, if it could not record that itself."""

    status: Literal["FAILED", "KILLED"]
    error: WorkbenchError


def enter(root: Path, session: Session, stage: str, limits: Limits) -> Pulse:
    """Continue in a child of this process, which stays behind as its guard and ends with it: only the child returns.

    A process that is guarded already, since it has replaced its program, just continues.

    Args:
        root: the main workspace.
        session: the session that the stage belongs to.
        stage: DVC's name of the stage.
        limits: when to end the stage.
    """
    guard = guard_above()
    if not guard:
        guard = os.getpid()
        parent_death.adopt_orphans()
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child:
            parent_death.outlive_parent()  # it looks at DVC itself, and records what it sees
            sys.exit(_Guard(root, session, stage, limits, child).watch())
        parent_death.end_with_parent()
        if os.getppid() != guard:
            os.kill(os.getpid(), signal.SIGKILL)  # the guard died before the kernel was asked
        os.environ[GUARD_VARIABLE] = str(guard)
    return Pulse(pulse.path(root, session.id, guard))


class _Guard:
    def __init__(self, root: Path, session: Session, stage: str, limits: Limits, child: int) -> None:
        self._root, self._session, self._stage, self._limits = root, session, stage, limits
        self._child, self._born = psutil.Process(child), process_start(child)
        self._file = pulse.path(root, session.id, os.getpid())
        self._started = self._alive = time.monotonic()
        self._looked = self._started
        self._beat = 0.0
        self._patience = min(SILENCE_SECONDS, (limits.silence or SILENCE_SECONDS) / 2)
        self._word: Word | None = None
        self._told_to_end = float("inf")

    def watch(self) -> int:
        """Wait for the stage's end; returns the exit code that represents it."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the stage as well
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._pass_on)
        while (code := self._wait()) is None:
            self._look()
        self._end_strays()
        code = self._conclude(code)
        self._file.unlink(missing_ok=True)
        return code

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._kill(signal.Signals(number))

    def _wait(self) -> int | None:
        try:
            return int(self._child.wait(LOOK_SECONDS))
        except psutil.TimeoutExpired:
            return None

    def _look(self) -> None:
        now = time.monotonic()
        if (stopped := now - self._looked) > STOPPED_SECONDS:
            self._started += stopped
            self._alive += stopped
        self._looked = now
        if now - self._told_to_end > GRACE_SECONDS:
            self._kill(signal.SIGKILL)
        elif self._told_to_end < now:
            return
        elif self._session.pid != os.getpid() and not is_alive(self._session.pid, self._session.process_started):
            what = f"process {self._session.pid}, which ran it (`{self._session.command}`), is gone"
            self._end(Word("KILLED", self._error(what, "run it again to go on")), signal.SIGKILL)
        elif pulse.read(self._file).code is not None:
            self._end_strays()
            self._told_to_end = now
        else:
            self._hold_to_limits(now)

    def _hold_to_limits(self, now: float) -> None:
        if (beat := pulse.last_beat(self._file)) != self._beat:
            self._beat, self._alive = beat, now
            self._patience = min(SILENCE_SECONDS, (self._limits.silence or SILENCE_SECONDS) / 2)
        silent = now - self._alive
        fix = "raise or remove the limit; `dvc repro` goes on from the newest checkpoint, if the stage keeps any"
        if self._limits.time is not None and now - self._started > self._limits.time:
            what = f"it has run for {now - self._started:,.0f} s, longer than time_limit_minutes of compute.yaml allows"
            self._end(Word("FAILED", self._error(what, fix)), signal.SIGABRT)
        elif self._limits.silence is not None and silent > self._limits.silence:
            what = f"it has shown no progress for {silent:,.0f} s, longer than stall_minutes of compute.yaml allows"
            self._end(Word("FAILED", self._error(what, fix)), signal.SIGABRT)
        elif silent > self._patience:
            self._patience = 2 * silent
            self._raise_stall(f"no sign of progress for {silent:,.0f} s (process {self._child.pid})")

    def _end(self, word: Word, number: signal.Signals) -> None:
        self._word, self._told_to_end = word, time.monotonic()
        self._kill(number)

    def _kill(self, number: signal.Signals) -> None:
        if is_alive(self._child.pid, self._born):
            os.kill(self._child.pid, number)

    def _end_strays(self) -> None:
        """Repeatedly, since a process being killed may start more; helpers of libraries end by themselves in a moment."""
        psutil.wait_procs(strays.below(os.getpid(), self._child.pid, self._born), timeout=PARTING_SECONDS)
        ended: dict[int, str] = {}
        for _ in range(10):
            found = strays.below(os.getpid(), self._child.pid, self._born)
            if not found:
                break
            for process in found:
                try:
                    ended[process.pid] = " ".join(process.cmdline())[:80]
                    process.kill()
                except psutil.NoSuchProcess:
                    continue
            psutil.wait_procs(found, timeout=1)
        if ended:
            self._say(f"ended what the stage had left running: {', '.join(f'{pid} ({what})' for pid, what in ended.items())}")

    def _conclude(self, code: int) -> int:
        """Complete the record of a stage that could not do so itself, and say what has happened."""
        told = pulse.read(self._file)
        if told.code is not None:
            return told.code
        word = self._word or self._explain(code)
        if not told.run:
            why = str(word.error) if word else f"it ended with exit code {code}"
            note_refusal(self._root, self._session.id, self._stage, why)
        if word is None:
            return code
        if told.run:
            error = f"{word.error}\n  code:  {told.plugins}"
            journal = Journal.create(self._root, self._session.id, told.run)
            journal.write(events.StageFailed(told.run, time.time(), word.status, error, told.traceback))
            journal.close()
            if word.status == "FAILED":
                forget_interrupted(self._root, told.fingerprint)
        parts = [told.traceback, f"error: {word.error}", f"  code:  {told.plugins}" if told.plugins else ""]
        sys.stderr.write("".join(f"{part}\n" for part in parts if part))
        return 128 - code if code < 0 else code or 1

    def _explain(self, code: int) -> Word | None:
        """None if the process itself recorded why it ended."""
        if code >= 0:
            if code and not pulse.read(self._file).run:
                return None
            what = f"its process exited in the middle of its work with exit code {code}, by `os._exit` or in a library"
            return Word("FAILED", PluginError(what, f"stage {self._stage}", "fix the plugin: a stage raises an error or returns"))
        number = signal.Signals(-code)
        if number in _CRASHES:
            fix = "the stacks above show where; lower threads in compute.yaml or another version of the library may help"
            return Word("FAILED", PluginError(f"its process crashed ({number.name})", f"stage {self._stage}", fix))
        if number is not signal.SIGKILL:
            return Word("KILLED", self._error(f"its process was ended by {number.name}", "run `dvc repro` again"))
        fix = "run `dvc repro` again; if it was memory (`dmesg` tells), lower batch size or length in params.yaml first"
        what = "its process was killed (SIGKILL); if nobody did that, the kernel did, since memory ran out"
        return Word("KILLED", self._error(what, fix))

    def _raise_stall(self, message: str) -> None:
        self._say(f"alert: stall: {message}")
        if run := pulse.read(self._file).run:
            journal = Journal.create(self._root, self._session.id, run)
            journal.write(events.AlertRaised(run, time.time(), "stall", message))
            journal.close()

    def _error(self, what: str, fix: str) -> ComputeError:
        return ComputeError(what, f"stage {self._stage}", fix)

    def _say(self, text: str) -> None:
        sys.stderr.write(f"{self._stage}: {text}\n")
        sys.stderr.flush()
