"""Delivers the events of one session's journals to one tracker, in order, from where it last stopped."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from workbench import events, redaction
from workbench.events import AnyEvent
from workbench.hosting.trackers import hooks_of
from workbench.kinds.tracker import Tracker
from workbench.tracking.journal import read_events
from workbench.tracking.session import STATE_FILE

OPENED = "_opened.jsonl"
CLOSED = "_closed.jsonl"
TROUBLE_FILE = "trouble.json"
"""File in a session's folder that says why a tracker does not accept its journals; removed once it does."""
PASSED_OVER_FILE = "passed_over.json"
"""File in a session's folder with the events that a tracker failed on and lacks, until `workbench sync` sends all of it again."""
OBSERVED = ".observed.jsonl"
"""Suffix of the journal that the watcher keeps beside a run's own."""
ATTEMPTS = 3
"""How often a tracker may fail on an event, with its store reachable, before the event is skipped."""
_CHUNK_BYTES = 1 << 18
_log = logging.getLogger(__name__)


class Feed:
    """One tracker's position in the journals of one session.

    Positions are kept per tracker, so that one whose store is down does not delay the others.
    """

    def __init__(self, root: Path, folder: Path, tracker: Tracker[Any]) -> None:
        self._root, self._folder, self._tracker = root, folder, tracker
        self._hooks = hooks_of(tracker)
        self._offsets = _load_offsets(folder).get(tracker.name, {})
        self._starts: dict[Path, float] = {}
        self._journals: Sequence[Path] = ()
        self._opened = False
        self._failures = 0
        self._took = False
        self._retry_at = 0.0

    def deliver(self, journals: Sequence[Path]) -> bool:
        """Send what is new. False if the tracker failed; this is logged and tried again later.

        Args:
            journals: those that the observer has seen. A later one may be there by now, but what became of the
                stages before it is not yet observed, and has to arrive first.
        """
        self._journals = journals
        if time.monotonic() < self._retry_at:
            return False
        try:
            self._drain()
        except Exception as error:  # noqa: BLE001  a tracker may raise anything, and must not harm the others or the stages
            self._failures += 1
            self._retry_at = time.monotonic() + min(2.0**self._failures, 60.0)
            log = _log.error if self._failures > 1 else _log.exception
            log("tracker %s: %s: %s; it is tried again", self._tracker.name, type(error).__name__, error)
            save_trouble(self._folder, self._tracker.name, error)
            return False
        if self._failures or not self._took:
            forget_trouble(self._folder, self._tracker.name)
        self._failures, self._took = 0, True
        return True

    def retry_now(self) -> None:
        """Forget the pause after a failure."""
        self._retry_at = 0.0

    def is_done(self) -> bool:
        """Whether the session is closed and all of it has been sent."""
        closed = self._folder / CLOSED
        return closed.exists() and all(self._is_drained(file) for file in [*self._files(), closed])

    def close(self) -> None:
        """Let the tracker write what is pending."""
        if self._opened:
            self._tracker.close()

    def _drain(self) -> None:
        if not (self._folder / OPENED).exists():
            return
        if not self._opened:
            self._tracker.open(self._root)
            self._opened = True
        for file in self._files():
            self._drain_file(file)
        closed = self._folder / CLOSED
        if closed.exists() and all(self._is_drained(file) for file in self._files()):
            self._drain_file(closed)

    def _files(self) -> Iterator[Path]:
        """The session's opening, then each run's journals, in the order in which the runs began."""
        yield self._folder / OPENED
        for path in sorted(self._journals, key=self._start_of):
            yield path
            yield observed(path)

    def _start_of(self, path: Path) -> float:
        if path not in self._starts:
            first, _ = read_events(path, 0, limit=1)
            if not first:
                return float("inf")
            self._starts[path] = cast("events.Event", first[0]).time
        return self._starts[path]

    def _drain_file(self, file: Path) -> None:
        while True:
            offset = self._offsets.get(file.name, 0)
            found, after = read_events(file, offset, limit=_CHUNK_BYTES)
            if after == offset:
                return
            self._send_all(found)
            self._offsets[file.name] = after
            _save_offsets(self._folder, self._tracker.name, self._offsets)

    def _is_drained(self, file: Path) -> bool:
        offset = self._offsets.get(file.name, 0)
        return read_events(file, offset, limit=1)[1] == offset

    def _send_all(self, found: Sequence[AnyEvent]) -> None:
        for kind, group in groupby(found, key=type):
            if kind is events.MetricsLogged:
                self._send(kind, {"events": list(group)})
                continue
            for event in group:
                self._send(kind, self._arguments(event))

    def _arguments(self, event: AnyEvent) -> dict[str, object]:
        if isinstance(event, events.ArtifactLogged):
            return {"event": event, "file": str(self._folder / event.file)}
        return {"event": event}

    def _send(self, kind: type[AnyEvent], arguments: dict[str, object]) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answers = getattr(self._hooks, events.hook_name(kind))(**arguments)
                break
            except (ConnectionError, TimeoutError, ImportError):  # the store or the tracker's code fails, whatever the event
                raise
            except Exception as error:  # noqa: BLE001  the same
                _log.exception("tracker %s failed on %s, attempt %d", self._tracker.name, kind.__name__, attempt)
                if attempt == ATTEMPTS:
                    _note_passed_over(self._folder, self._tracker.name, f"{kind.__name__}: {type(error).__name__}: {error}")
                    _log.error("tracker %s: this event is passed over and is missing there: %s", self._tracker.name, arguments)
                    return
        if kind is events.StageStarted:
            link = str(answers[0]) if answers else ""
            _save_link(self._folder, cast("events.StageStarted", arguments["event"]).run, self._tracker.name, link)


def observed(journal: Path) -> Path:
    """The journal that the watcher keeps beside a run's own."""
    return journal.with_name(journal.name.removesuffix(".jsonl") + OBSERVED)


def has_all(folder: Path, tracker: str) -> bool:
    """Whether a tracker has received a whole session: its end is sent last."""
    return CLOSED in _load_offsets(folder).get(tracker, {})


def links_of(folder: Path, run: str) -> dict[str, str]:
    """Each tracker that has recorded the run → its name for it, or an empty text if it has none."""
    return _read_json(folder / f"{run}.links.json")


def _save_link(folder: Path, run: str, tracker: str, link: str) -> None:
    _write_json(folder / f"{run}.links.json", {**links_of(folder, run), tracker: link})


def save_trouble(folder: Path, tracker: str, error: Exception) -> None:
    """Save why a tracker does not accept a session, for the stages to show; secrets are hidden."""
    _write_json(folder / TROUBLE_FILE, {**troubles_of(folder), tracker: redaction.text(str(error) or type(error).__name__)})


def forget_trouble(folder: Path, tracker: str) -> None:
    """Note that a tracker accepts a session again."""
    found = troubles_of(folder)
    if found.pop(tracker, None) is not None:
        _write_json(folder / TROUBLE_FILE, found)


def troubles_of(folder: Path) -> dict[str, str]:
    """Tracker → why it did not accept the session's journals at the last attempt."""
    return _read_json(folder / TROUBLE_FILE)


def passed_over(folder: Path) -> dict[str, list[str]]:
    """Tracker → the events of a session that it failed on and lacks, each with its error."""
    return _read_json(folder / PASSED_OVER_FILE)


def begin_again(folder: Path) -> None:
    """Let every tracker that lacks events have the whole session once more: what it has already stays as it is."""
    for tracker in passed_over(folder):
        _save_offsets(folder, tracker, {})
    (folder / PASSED_OVER_FILE).unlink(missing_ok=True)


def _note_passed_over(folder: Path, tracker: str, what: str) -> None:
    known = passed_over(folder)
    _write_json(folder / PASSED_OVER_FILE, {**known, tracker: [*known.get(tracker, []), redaction.text(what)]})


def seconds_behind(folder: Path, run: str, tracker: str) -> float:
    """How long the oldest undelivered event of a run's journal has waited for the tracker; 0 if all are delivered."""
    journal = folder / f"{run}.jsonl"
    found, _ = read_events(journal, _load_offsets(folder).get(tracker, {}).get(journal.name, 0), limit=1)
    return time.time() - cast("events.Event", found[0]).time if found else 0.0


def _load_offsets(folder: Path) -> dict[str, dict[str, int]]:
    return _read_json(folder / STATE_FILE)


def _save_offsets(folder: Path, tracker: str, offsets: dict[str, int]) -> None:
    _write_json(folder / STATE_FILE, {**_load_offsets(folder), tracker: offsets})


def _read_json(file: Path) -> dict[str, Any]:
    """Content of a file that this module writes; empty if it is missing or was damaged by a crash: replaying is harmless."""
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    scratch = file.with_name(f"{file.name}.scratch")
    scratch.write_text(json.dumps(content), encoding="utf-8")
    scratch.replace(file)
