"""The journal: a stage's events as JSON lines that survive the failure of process, server or store.

    .workbench/journal/SESSION/RUN.jsonl    one event a line, in order
    .workbench/journal/SESSION/RUN/         content of tables and charts (.json) and of texts (.md)
    .workbench/journal/.open/FINGERPRINT    the run that has begun on this result and not ended

No secret enters it (:mod:`workbench.redaction`), and so none reaches a tracker's store, which is fed from here alone.
The stage's process writes its journal, and its guard adds whole lines of what the stage cannot report; the watcher
(:mod:`workbench.tracking.watcher`) writes beside it.
"""

from __future__ import annotations

import json
import numbers
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

from workbench import events, redaction
from workbench.events import AnyEvent
from workbench.lib.layout import JOURNAL_FOLDER
from workbench.redaction import Redactor
from workbench.run import Cell, Chart, Generation, Value
from workbench.tracking.session import folder_of

FLUSH_SECONDS = 0.5
READ_BYTES = 1 << 20
_OPEN_FOLDER = ".open"
_TYPES: Mapping[str, type[AnyEvent]] = {event.__name__: event for event in get_args(AnyEvent)}


class Journal:
    """Append-only record of one run; a :class:`workbench.run.Listener`.

    A full disk does not end training: lines wait in memory, the failure is reported once on
    standard error, and every later write tries again.
    """

    def __init__(self, root: Path, session: str, run: str) -> None:
        self.run = run
        self.path = folder_of(root, session) / f"{run}.jsonl"
        self._markers = root / JOURNAL_FOLDER / _OPEN_FOLDER
        self._marker: Path | None = None
        self._lock = threading.Lock()
        self._pending = bytearray()
        self._timer: threading.Timer | None = None
        self._last_flush = 0.0
        self._complained = False
        self._redactor = redaction.of_environment()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._end_torn_line()

    @classmethod
    def create(cls, root: Path, session: str, run: str) -> Journal:
        """Open the journal of a run in the folder of its session."""
        return cls(root, session, _file_name(run))

    def write(self, event: AnyEvent) -> None:
        """Append an event; it is in the file when this returns, and on the disk once the run ends."""
        if isinstance(event, events.StageStarted):
            self._mark(event.fingerprint)
            self._redactor = self._redactor.knowing_those_of(event.lock)
        self._append(encode(event, self._redactor), now=True)
        if isinstance(event, events.StageFinished | events.StageFailed):
            os.fsync(self._file)
            if not _is_killed(event) and self._marker is not None:
                self._marker.unlink(missing_ok=True)

    def close(self) -> None:
        """Write what is pending; nothing can be written afterwards."""
        self._flush()
        with self._lock:
            if self._pending:
                sys.stderr.write(f"journal {self.path}: {len(self._pending)} bytes could not be written and are lost\n")
            os.close(self._file)

    def metrics(self, values: Mapping[str, Value], step: int | None) -> None:
        """Append numbers; at most half a second of them is lost if the process is killed."""
        record = {"type": "MetricsLogged", "run": self.run, "time": time.time(), "values": _floats(values), "step": step}
        self._append(_line(record), now=False)

    def table(self, name: str, title: str, rows: Sequence[Mapping[str, Cell]]) -> None:
        """Keep the rows beside the journal."""
        self._keep_record(name, title, "table", list(rows))

    def chart(self, chart: Chart) -> None:
        """Keep the chart's data beside the journal."""
        self._keep_record(chart.name, chart.title, "chart", asdict(chart))

    def text(self, name: str, markdown: str) -> None:
        """Keep the text beside the journal."""
        self._keep(name, name, "text", "md", self._redactor.text(markdown))

    def generation(self, generation: Generation) -> None:
        """Append a generated text."""
        event = events.GenerationLogged(self.run, time.time(), **asdict(generation))
        self._append(encode(event, self._redactor), now=False)

    def progress(self, done: float, total: float | None, unit: str, label: str) -> None:
        """Progress is for the console; it is not recorded."""

    def _keep_record(self, name: str, title: str, content: events.ContentKind, record: object) -> None:
        hidden = self._redactor.strings(record)
        self._keep(name, title, content, "json", json.dumps(hidden, default=_plain, ensure_ascii=False))

    def _keep(self, name: str, title: str, content: events.ContentKind, suffix: str, text: str) -> None:
        # One folder per kind of content, so that a chart and a table may share a name.
        file = self.path.with_suffix("") / content / f"{_file_name(name)}.{suffix}"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            scratch = file.with_name(f".{file.name}")
            scratch.write_text(text, encoding="utf-8", errors="backslashreplace")
            scratch.replace(file)
        except OSError as error:
            self._complain(error)
            return
        relative = file.relative_to(self.path.parent).as_posix()
        self.write(events.ArtifactLogged(self.run, time.time(), name, title, content, relative))

    def _append(self, line: bytes, now: bool) -> None:
        with self._lock:
            self._pending += line
            if not now and time.monotonic() - self._last_flush < FLUSH_SECONDS:
                self._flush_later()
                return
        self._flush()

    def _flush_later(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(FLUSH_SECONDS, self._flush)
            self._timer.daemon = True
            self._timer.start()

    def _flush(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._last_flush = time.monotonic()
            while self._pending:
                try:
                    written = os.write(self._file, self._pending)
                except OSError as error:
                    self._complain(error)
                    return
                del self._pending[:written]

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            sys.stderr.write(f"journal {self.path}: {error}; the run goes on, and its record waits for room\n")
        self._complained = True

    def _end_torn_line(self) -> None:
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")

    def _mark(self, fingerprint: str) -> None:
        if not fingerprint:
            return
        self._marker = self._markers / _file_name(fingerprint)
        self._markers.mkdir(parents=True, exist_ok=True)
        scratch = self._marker.with_name(f"{self._marker.name}.{os.getpid()}")
        scratch.write_text(self.run, encoding="utf-8")
        scratch.replace(self._marker)


def find_interrupted(root: Path, session: str, fingerprint: str) -> Journal | None:
    """The journal, in the folder of ``session``, that continues the run which was killed while making the same result.

    None when no run with this fingerprint was killed: each then finished or failed.
    """
    marker = root / JOURNAL_FOLDER / _OPEN_FOLDER / _file_name(fingerprint)
    try:
        run = marker.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return Journal.create(root, session, run) if run else None


def forget_interrupted(root: Path, fingerprint: str) -> None:
    """Prevent later runs from continuing the one that began on this result."""
    (root / JOURNAL_FOLDER / _OPEN_FOLDER / _file_name(fingerprint)).unlink(missing_ok=True)


def encode(event: AnyEvent, redactor: Redactor | None = None) -> bytes:
    """One line of a journal, with secrets hidden. NaN and infinities are written as JavaScript writes them."""
    redactor = redactor or redaction.of_environment()
    ways: Mapping[str, Callable[[Any], Any]] = {"config": redactor.tree, "lock": redactor.tree, "command": redactor.command}
    record: dict[str, Any] = {"type": type(event).__name__}
    for name, value in asdict(event).items():
        hide: Callable[[Any], Any] = ways.get(name, redactor.strings)
        record[name] = hide(value)
    return _line(record)


def read_events(
    path: Path, offset: int, *, only: Sequence[type[AnyEvent]] = (), limit: int = READ_BYTES
) -> tuple[list[AnyEvent], int]:
    """Read the whole lines that begin at a byte offset.

    Args:
        path: a journal; a missing one is empty.
        only: the event types that the caller uses; all of them when empty.
        limit: stop after about this many bytes; the caller asks again until the offset no longer moves.

    Returns:
        the events, and the offset at which the first unread or unfinished line begins. An incomplete line
        left by a killed process is skipped, as are events of types that this version does not know.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            chunk = file.read(limit)
            if chunk and b"\n" not in chunk:
                chunk += file.readline()
    except FileNotFoundError:
        return [], offset
    whole = chunk[: chunk.rfind(b"\n") + 1]
    types = {event.__name__: event for event in only} or _TYPES
    found = [event for line in whole.splitlines() if (event := _decode(line, types)) is not None]
    return found, offset + len(whole)


def _decode(line: bytes, types: Mapping[str, type[AnyEvent]]) -> AnyEvent | None:
    name = line[len(b'{"type": "') :].split(b'"', 1)[0].decode("ascii", "replace")
    if name not in types:
        return None
    try:
        event: AnyEvent = _build(types[name], json.loads(line))
    except (ValueError, TypeError):
        return None  # incomplete: the process was killed inside the write
    return event


def _build(cls: Callable[..., Any], record: Mapping[str, Any]) -> Any:
    """An event, or a record within one, from its JSON object; unknown keys are ignored."""
    values = {name: record[name] for name in _field_names(cls) if name in record}
    for name, inner in _nested(cls).items():
        found = values.get(name)
        if isinstance(found, list):
            values[name] = [_build(inner, item) for item in found]
        elif found is not None:
            values[name] = _build(inner, found)
    return cls(**values)


@cache
def _field_names(cls: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cls))


@cache
def _nested(cls: Any) -> Mapping[str, type[Any]]:
    """Field → dataclass, for the fields that hold one or a list of them."""
    return {name: inner for name, hint in get_type_hints(cls).items() if (inner := _dataclass_in(hint)) is not None}


def _dataclass_in(hint: Any) -> type[Any] | None:
    candidates = (hint, *get_args(hint))
    return next((kind for kind in candidates if isinstance(kind, type) and is_dataclass(kind)), None)


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, default=_plain).encode() + b"\n"


def _floats(values: Mapping[str, Value]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}


def _plain(value: object) -> object:
    """Convert numbers of other libraries to Python's, and everything else to text."""
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    return str(value)


def _is_killed(event: AnyEvent) -> bool:
    return isinstance(event, events.StageFailed) and event.status == "KILLED"


def _file_name(name: str) -> str:
    """The name without characters that could form a path."""
    return re.sub(r"[^\w.@=+-]", "_", name).lstrip(".") or "_"
