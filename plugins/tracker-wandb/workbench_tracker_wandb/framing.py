"""The file format of W&B's transaction logs (``*.wandb``): a header of 7 bytes, then records in LevelDB's log format.

The file is a sequence of blocks of 32 KiB. A record is one chunk, or several where it does not fit into the block; a chunk is a
checksum, a length, a type and its bytes. What is left of a block that is too short for a chunk's head is filled with zeros.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from workbench.errors import WorkbenchError

HEADER = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
"""What every file begins with: a name, a magic number and the version of the format."""
_BLOCK = 32 * 1024
_HEAD = struct.Struct("<IHB")
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def read(content: bytes, name: str) -> Iterator[tuple[bytes, int]]:
    """Every whole record of a file, each with the position after it. What a crash tore at the end is left out.

    Args:
        content: the bytes of the file.
        name: what an error calls it.

    Raises:
        WorkbenchError: the file is no transaction log of this version, or it is damaged before its end.
    """
    if not content.startswith(HEADER):
        if HEADER.startswith(content.rstrip(b"\0")):
            return
        raise _damaged(name, 0)
    parts: list[bytes] = []
    position = len(HEADER)
    while (chunk := _chunk(content, position, name)) is not None:
        kind, part, position = chunk
        if (kind in (_FULL, _FIRST)) == bool(parts):
            raise _damaged(name, position)
        parts.append(part)
        if kind in (_FULL, _LAST):
            yield b"".join(parts), position
            parts.clear()


def frame(record: bytes, position: int) -> bytes:
    """The bytes that append a record to a file of ``position`` bytes."""
    framed = bytearray()
    rest, begun = memoryview(record), False
    while True:
        room = _BLOCK - (position + len(framed)) % _BLOCK
        if room < _HEAD.size:
            framed += bytes(room)
            room = _BLOCK
        part, rest = rest[: room - _HEAD.size], rest[room - _HEAD.size :]
        kind = (_MIDDLE if rest else _LAST) if begun else (_FIRST if rest else _FULL)
        framed += _HEAD.pack(_checksum(kind, part), len(part), kind) + part
        if not rest:
            return bytes(framed)
        begun = True


def _chunk(content: bytes, position: int, name: str) -> tuple[int, bytes, int] | None:
    """Type, bytes and end of the chunk at a position, or None where there is no whole one and none after it."""
    room = _BLOCK - position % _BLOCK
    if room < _HEAD.size:
        position += room
    start = position + _HEAD.size
    if start > len(content) or not any(content[position:]):
        return None
    checksum, length, kind = _HEAD.unpack_from(content, position)
    if start + length > len(content):
        return None
    end = start + length
    part = content[start:end]
    if kind not in (_FULL, _FIRST, _MIDDLE, _LAST) or checksum != _checksum(kind, part):
        if any(content[end:]):
            raise _damaged(name, position)
        return None
    return kind, part, end


def _checksum(kind: int, part: bytes | memoryview) -> int:
    return zlib.crc32(part, zlib.crc32(bytes([kind])))


def _damaged(name: str, position: int) -> WorkbenchError:
    fix = "move that folder away; `workbench sync --again` writes it again"
    return WorkbenchError("it is no transaction log of W&B, or it is damaged", f"{name}, byte {position:,}", fix)
