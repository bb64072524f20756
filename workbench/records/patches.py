"""A patch of one file in git's binary format, which shows no line of the file's old content.

A text patch repeats old lines as context and as removals. If a secret was committed, the patch of a record
must not: it copies what stays from the old content by its position (gitformat-pack(5), "Deltified representation").
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

_LONGEST_INSERT = 127
_LONGEST_COPY = 0xFFFFFF
_BYTES_PER_LINE = 52
_ABSENT = "000000"
_NOTHING = "0" * 40


@dataclass(frozen=True)
class FileChange:
    """A tracked file that differs from HEAD."""

    path: str
    """Relative to the top of the work tree."""
    old_mode: str
    """Such as ``100644``; ``000000`` if there is no file."""
    new_mode: str
    old: str
    """Git's object name of the content; zeros if there is no file."""
    new: str


def without_old_lines(change: FileChange, old: bytes, new: bytes, hidden: bytes) -> str:
    """The section of a patch that ``git apply`` turns ``old`` into ``new`` with.

    Args:
        change: which file it is.
        old: content in HEAD.
        new: content to reach; empty if the file was deleted.
        hidden: the same without secrets. Lines that stay are taken from ``old``, so they may hold some.
    """
    is_gone = change.new_mode == _ABSENT
    steps = [] if is_gone else list(_steps(old, new, hidden))
    target = b"".join(made for _, made in steps)
    delta = _size(len(old)) + _size(len(target)) + b"".join(step for step, _ in steps)
    head = [f"diff --git a/{change.path} b/{change.path}"]
    if is_gone:
        head.append(f"deleted file mode {change.old_mode}")
    elif change.old_mode != change.new_mode:
        head += [f"old mode {change.old_mode}", f"new mode {change.new_mode}"]
    mode = f" {change.old_mode}" if change.old_mode == change.new_mode else ""
    head += [f"index {change.old}..{_NOTHING if is_gone else _name(target)}{mode}", "GIT binary patch"]
    body = ("delta", delta) if target else ("literal", b"")
    return "\n".join([*head, f"{body[0]} {len(body[1])}", *_lines(zlib.compress(body[1], 9)), "", ""])


def _steps(old: bytes, new: bytes, hidden: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Instructions of a delta, each with what it makes."""
    before, after, shown = (content.splitlines(keepends=True) for content in (old, new, hidden))
    if len(shown) != len(after):  # lines were removed, and which ones is unknown
        after = shown
    starts = [0]
    for line in before:
        starts.append(starts[-1] + len(line))
    for tag, first, last, begin, end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from _copies(old, starts[first], starts[last])
        elif end > begin:
            yield from _inserts(b"".join(shown[begin:end]))


def _copies(old: bytes, start: int, end: int) -> Iterator[tuple[bytes, bytes]]:
    for at in range(start, end, _LONGEST_COPY):
        piece = old[at : min(at + _LONGEST_COPY, end)]
        yield b"\xff" + at.to_bytes(4, "little") + len(piece).to_bytes(3, "little"), piece


def _inserts(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    for at in range(0, len(content), _LONGEST_INSERT):
        piece = content[at : at + _LONGEST_INSERT]
        yield bytes([len(piece)]) + piece, piece


def _size(number: int) -> bytes:
    """Seven bits per byte, lowest first; a set high bit means that more follow."""
    found = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        found.append(low | (0x80 if number else 0))
        if not number:
            return bytes(found)


def _name(content: bytes) -> str:
    """Git's object name of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _lines(packed: bytes) -> Iterator[str]:
    """Base 85 as git writes it: a letter for the number of bytes, then the bytes."""
    for start in range(0, len(packed), _BYTES_PER_LINE):
        piece = packed[start : start + _BYTES_PER_LINE]
        letter = chr(len(piece) + (64 if len(piece) <= 26 else 70))
        yield letter + base64.b85encode(piece, pad=True).decode()
