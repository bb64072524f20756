"""Watches what a process opens, lists, changes and connects to, by Python's audit events (PEP 578).

Files that a C or Rust library opens by itself raise no such event; what they write is found by looking at the sandbox afterwards.
"""

# ruff: noqa: PTH100, PTH117, PTH118, PTH119 - an audit hook is called for every open, and pathlib is slow
from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Literal

Way = Literal["read", "write", "network"]
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
READ_EVENTS = frozenset({"os.listdir", "os.scandir"})
WRITE_EVENTS: Mapping[str, int] = {
    "os.chmod": 2,
    "os.chown": 3,
    "os.remove": 1,
    "os.setxattr": -1,
    "os.truncate": -1,
    "os.utime": 3,
    "sqlite3.connect": -1,
}
"""Event → which of its arguments is the descriptor of the folder that the path belongs to, -1 if none is.

The making of folders is not among them: libraries make some that stay empty, and a file in one is seen."""
PAIR_EVENTS = frozenset({"os.rename", "os.link"})
"""Events whose first two arguments are both changed."""
NETWORK_EVENTS = frozenset({"socket.connect", "socket.sendto", "socket.getaddrinfo"})
SYSTEM_READS = ("/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", "/sys", "/dev", "/opt")
SYSTEM_WRITES = ("/dev", "/proc")


@dataclass
class Watch:
    """Remembers, while it is on, every access outside what is allowed."""

    reads: Sequence[str]
    """Files and folders that may be read."""
    writes: Sequence[str]
    """Files and folders that may be written, and read."""
    origins: Sequence[str] = ()
    """Folders of code; an access from it is reported with its line."""
    found: list[tuple[Way, str]] = field(default_factory=list)
    _on: bool = False
    _seen: set[tuple[Way, str]] = field(default_factory=set)
    _own: threading.local = field(default_factory=threading.local)

    def __post_init__(self) -> None:
        self._writable = _forms([*self.writes, *SYSTEM_WRITES])
        self._readable = (*self._writable, *_forms([*self.reads, *SYSTEM_READS]))
        sys.addaudithook(self._hear)

    def allow(self, paths: Sequence[str]) -> None:
        """Let more files and folders be read."""
        self._readable = (*self._readable, *_forms(paths))

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watch what happens inside."""
        self._on = True
        try:
            yield
        finally:
            self._on = False

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on or getattr(self._own, "busy", False):
            return
        self._own.busy = True  # looking a path up may raise events of its own
        try:
            for way, target in _accesses(event, arguments):
                if (way, target) not in self._seen and not self._allowed(way, target):
                    self._seen.add((way, target))
                    self.found.append((way, f"{target}{self._origin()}"))
        finally:
            self._own.busy = False

    def _origin(self) -> str:
        """The innermost line of the code under test, for the message."""
        frame: FrameType | None = sys._getframe()  # noqa: SLF001 - what the traceback module does
        while frame is not None:
            if _below(frame.f_code.co_filename, tuple(self.origins)):
                return f" ({os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno})"
            frame = frame.f_back
        return ""

    def _allowed(self, way: Way, target: str) -> bool:
        if way == "network":
            return False
        if way == "read" and target in sys.path:
            return True  # an import looks which modules a folder holds
        roots = self._writable if way == "write" else self._readable
        return _below(target, roots) or _below(os.path.realpath(target), roots)


def _accesses(event: str, arguments: tuple[Any, ...]) -> Iterator[tuple[Way, str]]:
    """The accesses that an audit event reports; the table of events is in Python's documentation under "audit events"."""
    if event == "open":
        yield from _opened(*arguments)
    elif event in READ_EVENTS:
        yield from _at("read", "." if arguments[0] is None else arguments[0])
    elif event in WRITE_EVENTS:
        position = WRITE_EVENTS[event]
        yield from _at("write", arguments[0], arguments[position] if position >= 0 else -1)
    elif event == "os.symlink":
        yield from _at("write", arguments[1], arguments[2])
    elif event in PAIR_EVENTS:
        yield from _at("write", arguments[0], arguments[2])
        yield from _at("write", arguments[1], arguments[3])
    elif event in NETWORK_EVENTS:
        yield "network", f"{event} {arguments[:2] if event == 'socket.getaddrinfo' else arguments[1:]}"


def _opened(name: Any, mode: str | None, flags: int) -> Iterator[tuple[Way, str]]:
    for way, path in _at("write" if flags & WRITING else "read", name):
        # os.open is reported without the folder that a relative name belongs to; removing a tree opens folders that way.
        if mode is not None or os.path.isabs(name) or os.path.lexists(path):
            yield way, path


def _at(way: Way, name: Any, folder: Any = -1) -> Iterator[tuple[Way, str]]:
    """The absolute path; nothing for a file descriptor and a database in memory."""
    if isinstance(name, str | bytes | os.PathLike) and name != ":memory:":
        base = f"/proc/self/fd/{folder}" if isinstance(folder, int) and folder >= 0 else os.curdir
        yield way, os.path.abspath(os.path.join(os.path.realpath(base), os.fsdecode(name)))


def _below(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(f"{root}/") for root in roots)


def _forms(paths: Sequence[str]) -> tuple[str, ...]:
    """Each path as it is written, and where it leads."""
    return tuple({form for path in paths for form in (os.path.abspath(path), os.path.realpath(path))})
