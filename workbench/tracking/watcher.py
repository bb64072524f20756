"""One process per session, separate from DVC and the stages, that delivers their journals to the trackers as they run.

``python -m workbench.tracking.watcher ROOT SESSION`` is started by :func:`ensure_watcher`. It ends when DVC is gone and the
journals are drained, or when a tracker's store cannot be reached: then the next watcher, or :func:`sync`, completes the record.
"""

from __future__ import annotations

import io
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from workbench import redaction
from workbench.lib import garbage, locks
from workbench.lib.layout import JOURNAL_FOLDER
from workbench.lib.processes import is_alive
from workbench.tracking import session as sessions
from workbench.tracking.session import STATE_FILE, Session, folder_of

if TYPE_CHECKING:
    from workbench.tracking.feed import Feed
    from workbench.tracking.observer import Observer

POLL_SECONDS = 0.4
FINAL_ATTEMPTS = 3
LINK_SECONDS = 2.0
LINK_SHARE = 0.1
"""Share of a stage's duration for which it waits at its end, at most, for the trackers' names for its run."""
BEHIND_SECONDS = 10.0
"""Lag of a tracker behind an ending stage above which a warning is shown."""
_LONGEST_LINE = 300
"""Characters of a tracker's error that a stage shows; the log has the whole text."""
_PENDING = ".pending"
_LOCK_FILE = "watcher.lock"
_LOG_FILE = "watcher.log"
_NICE = 5
_PATIENCE = 2.0
"""Seconds that a starting watcher waits for processes that only test whether a watcher runs."""
_ANY = "of any name"
"""Placeholder for a tracker if none can be loaded."""
_log = logging.getLogger("workbench.tracking.watcher")


def ensure_watcher(root: Path, session: Session) -> None:
    """Start the session's watcher unless one runs. It returns at once and costs the caller a few milliseconds.

    Args:
        root: the main workspace, see :func:`workbench.lib.layout.main_root`.
        session: see :func:`workbench.tracking.session.current_session`.
    """
    from workbench.hosting import trackers

    folder = folder_of(root, session.id)
    if sessions.find(root, session.id) is None:
        sessions.save(root, replace(session, trackers=trackers.names(root)))
    marker = root / JOURNAL_FOLDER / _PENDING / session.id
    marker.parent.mkdir(exist_ok=True)
    marker.touch()
    with _exclusive(folder) as free:
        if not free:
            return
    with (folder / _LOG_FILE).open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "workbench.tracking.watcher", str(root), session.id],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=root,
            env=_environment(root),
            start_new_session=True,
        )


def wait_for_watcher(root: Path, session: str, timeout: float) -> bool:
    """Wait until the session's watcher has ended; False when it still runs after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while _is_watched(folder_of(root, session)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def wait_for_link(root: Path, session: Session, run: str, seconds: float) -> str:
    """The trackers' names for a run, or the journal's, with how to deliver it to trackers that have not recorded it in time.

    Args:
        root: the main workspace.
        session: the run's.
        run: the journal's name for it.
        seconds: what the stage took. A short one does not wait until the watcher has loaded a tracker.
    """
    from workbench.tracking.feed import links_of, troubles_of

    names = sessions.load(root, session.id).trackers
    folder = folder_of(root, session.id)
    deadline = time.monotonic() + min(LINK_SECONDS, LINK_SHARE * seconds)
    while True:
        links, troubles = links_of(folder, run), troubles_of(folder)
        if _ANY in troubles or links.keys() | troubles.keys() >= set(names):
            break
        if time.monotonic() > deadline or not _is_watched(folder):
            break
        time.sleep(0.05)
    if not names:
        return "no tracker is configured"
    said = ", ".join(filter(None, links.values())) or f"run {run}"
    missing = ", ".join(name for name in names if name not in links)
    late = f"; tracker {missing} has not taken it yet (`workbench sync` makes sure)" if missing else ""
    return said + late


def warnings(root: Path, session: str, run: str = "") -> list[str]:
    """What keeps the trackers from recording a session, and ``run`` if given, each with where to look and how to fix it."""
    from workbench.errors import WorkbenchError
    from workbench.tracking.feed import passed_over, seconds_behind, troubles_of

    folder = folder_of(root, session)
    said = {name: f"lacks {len(lost)} events, the last {_first_line(lost[-1])}" for name, lost in passed_over(folder).items()}
    said |= {name: f"does not accept the record: {_first_line(why)}" for name, why in troubles_of(folder).items()}
    for name in sessions.load(root, session).trackers if run else ():
        if name not in said and (seconds := seconds_behind(folder, run, name)) > BEHIND_SECONDS:
            said[name] = f"is {seconds:,.0f} s behind with the record"
    where = f"compute.yaml, key trackers; {folder / _LOG_FILE}"
    fix = "nothing is lost, the journal has everything: check that the store can be reached, then run `workbench sync`"
    return [f"warning: {WorkbenchError(f'tracker {name} {what}', where, fix)}" for name, what in said.items()]


def left_behind(root: Path) -> list[str]:
    """Warnings about ended sessions that a tracker does not accept, the newest of each kind."""
    found = {text.splitlines()[0]: text for name in waiting(root) for text in warnings(root, name)}
    return [*found.values()]


def sync(root: Path, wait: float = 60.0) -> int:
    """Deliver every journal that is not in the trackers yet; repeating it changes nothing.

    A tracker that compute.yaml names only now receives the sessions that ended before, and one that failed on events receives
    their sessions once more.

    Args:
        root: the main workspace.
        wait: seconds that the watcher of a session whose DVC has ended gets to finish by itself.

    Returns:
        number of sessions that this completed; :func:`pending` names those that remain.
    """
    from workbench.tracking.feed import begin_again

    for session in incomplete(root):
        with _exclusive(folder_of(root, session)) as free:
            if free:
                begin_again(folder_of(root, session))
                _pending_file(root, session).touch()
    for session in _unknown(root):
        _pending_file(root, session).touch()
    return _catch_up(root, pending(root), wait)


def incomplete(root: Path) -> list[str]:
    """Ids of the sessions of which a tracker lacks events that it failed on, oldest first."""
    from workbench.tracking.feed import PASSED_OVER_FILE

    return _by_age(root, (file.parent for file in (root / JOURNAL_FOLDER).glob(f"[!.]*/{PASSED_OVER_FILE}")))


def pending(root: Path) -> list[str]:
    """Ids of the sessions that some tracker has not received completely, oldest first."""
    return _by_age(root, (root / JOURNAL_FOLDER / _PENDING).glob("*"))


def waiting(root: Path) -> list[str]:
    """Ids of those sessions of :func:`pending` whose DVC has ended."""
    return [name for name in pending(root) if not _is_running(root, name)]


def replay(root: Path) -> int:
    """Send every journal again from its beginning, for a store that was lost or a tracker that is new."""
    for session in _by_age(root, (root / JOURNAL_FOLDER).glob("[!.]*")):
        folder = folder_of(root, session)
        with _exclusive(folder) as free:
            if free:
                (folder / STATE_FILE).unlink(missing_ok=True)
                _pending_file(root, session).touch()
    return sync(root)


def watch(root: Path, session: str) -> None:
    """Follow one session to its end; returns at once if another process does already."""
    with _exclusive(folder_of(root, session), patience=_PATIENCE) as free:
        if not free:
            return
        _follow(root, session)


def main(arguments: Sequence[str]) -> None:
    """Entry point of the watcher's process."""
    sys.stdout = sys.stderr = _Hidden(sys.stderr)  # for all loggers including MLflow's, and a final traceback
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    os.nice(_NICE)
    garbage.collect_all_less_often()
    root, session = arguments
    watch(Path(root), session)


def _complete_others(root: Path, session: str) -> None:
    others = [name for name in waiting(root) if name != session]
    if others:
        _log.info("completing %d earlier sessions", len(others))
        _catch_up(root, others, wait=0.0)


def _catch_up(root: Path, names: Iterable[str], wait: float) -> int:
    done = 0
    for session in names:
        folder = folder_of(root, session)
        if not _is_running(root, session):
            wait_for_watcher(root, session, wait)
        with _exclusive(folder) as free:
            if free and _pending_file(root, session).exists():
                try:
                    done += _complete(root, session)
                except Exception:  # noqa: BLE001  one session must not keep the others from the trackers; its marker stays
                    _log.exception("session %s could not be brought to the trackers", session)
    return done


def _unknown(root: Path) -> list[str]:
    """Ids of the ended sessions that some tracker of compute.yaml has not received completely."""
    from workbench.hosting import trackers
    from workbench.tracking.feed import CLOSED, has_all

    names = trackers.names(root)
    folders = [file.parent for file in (root / JOURNAL_FOLDER).glob(f"[!.]*/{CLOSED}")]
    return [folder.name for folder in folders if not all(has_all(folder, name) for name in names)]


def _by_age(root: Path, files: Iterable[Path]) -> list[str]:
    """Names of sessions, oldest first: a result is linked to the run that made it, which must be in the store by then."""
    known = {file.name: record for file in files if (record := sessions.find(root, file.name)) is not None}
    return sorted(known, key=lambda name: known[name].time)


def _follow(root: Path, session: str) -> None:
    from workbench.tracking.observer import Observer

    observer = Observer(root, sessions.load(root, session))
    feeds = _Feeds(root, folder_of(root, session))
    with ThreadPoolExecutor(1) as courier:  # a slow store must not stop the observation
        delivery: Future[object] = courier.submit(_complete_others, root, session)
        while True:
            observer.look()
            if observer.is_over():
                break
            if observer.is_open() and delivery.done():
                delivery.result()
                delivery = courier.submit(feeds.deliver, observer.journals())
            time.sleep(POLL_SECONDS)
        delivery.result()
    _finish(root, session, observer, feeds, FINAL_ATTEMPTS)


def _complete(root: Path, session: str) -> bool:
    """Catch up with an unwatched session; the caller holds its lock."""
    from workbench.tracking.observer import Observer

    observer = Observer(root, sessions.load(root, session))
    observer.look()
    feeds = _Feeds(root, folder_of(root, session))
    if observer.is_over():
        return _finish(root, session, observer, feeds, 1)
    feeds.deliver(observer.journals())
    feeds.close()
    return False


def _finish(root: Path, session: str, observer: Observer, feeds: _Feeds, attempts: int) -> bool:
    if not observer.close():
        _pending_file(root, session).unlink(missing_ok=True)
        folder = folder_of(root, session)
        gone = folder.with_name(f".{session}.gone")  # a process asking for its lock meanwhile would create a file in it
        folder.rename(gone)
        shutil.rmtree(gone)
        return True
    for _ in range(attempts):
        if feeds.deliver(observer.journals(), now=True):
            break
    feeds.close()
    if feeds.are_done():
        _pending_file(root, session).unlink(missing_ok=True)
        return True
    _log.error("session %s is not whole in every tracker; its journals are, and `workbench sync` tries again", session)
    return False


class _Hidden(io.TextIOBase):
    """A stream that hides secrets."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._redactor = stream, redaction.of_environment()

    def write(self, text: str) -> int:
        self._stream.write(self._redactor.text(text))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()


class _Feeds:
    """The feeds of one session, created when there is something to send, so that an idle watcher loads no tracker."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root, self._folder = root, folder
        self._feeds: list[Feed] = []
        self._loaded = False
        self._broken = False

    def deliver(self, journals: Sequence[Path], *, now: bool = False) -> bool:
        """Send what is new to every tracker. False if one of them did not accept it."""
        if not self._loaded:
            self._load()
        for feed in self._feeds if now else ():
            feed.retry_now()
        took = [feed.deliver(journals) for feed in self._feeds]  # every feed gets its turn
        return all(took) and not self._broken

    def are_done(self) -> bool:
        """Whether every tracker has the whole session."""
        return not self._broken and all(feed.is_done() for feed in self._feeds)

    def close(self) -> None:
        """Disconnect."""
        for feed in self._feeds:
            try:
                feed.close()
            except Exception:  # noqa: BLE001  a tracker may raise anything, and must not harm the others
                _log.exception("a tracker could not be closed")

    def _load(self) -> None:
        from workbench.errors import WorkbenchError
        from workbench.hosting import trackers
        from workbench.tracking.feed import Feed, forget_trouble, save_trouble

        self._loaded = True
        try:
            configured = trackers.configured(self._root)
        except WorkbenchError as error:
            self._broken = True
            _log.exception("no tracker can be loaded")
            save_trouble(self._folder, _ANY, error)
            return
        forget_trouble(self._folder, _ANY)
        self._feeds = [Feed(self._root, self._folder, tracker) for tracker in configured]


def _is_running(root: Path, session: str) -> bool:
    record = sessions.find(root, session)
    return record is not None and is_alive(record.pid, record.process_started)


def _first_line(text: str) -> str:
    line = text.strip().partition("\n")[0]
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…"


def _pending_file(root: Path, session: str) -> Path:
    return root / JOURNAL_FOLDER / _PENDING / session


def _is_watched(folder: Path) -> bool:
    if not folder.exists():
        return False
    with _exclusive(folder) as free:
        return not free


@contextmanager
def _exclusive(folder: Path, patience: float = 0.0) -> Iterator[bool]:
    """Hold the lock that the watcher of a session holds; yields False if another process keeps it for ``patience`` seconds."""
    try:
        file = (folder / _LOCK_FILE).open("a")
    except FileNotFoundError:
        yield True  # the folder is gone: the session left nothing to watch
        return
    with file:
        yield locks.take(file, patience)


def _environment(root: Path) -> dict[str, str]:
    """This process's environment without stage-specific variables, and with telemetry off."""
    kept = {name: value for name, value in os.environ.items() if name not in ("DVC_STAGE", "DVC_EXP_NAME")}
    return {**kept, "DVC_ROOT": str(root), "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1"}


if __name__ == "__main__":
    main(sys.argv[1:])
