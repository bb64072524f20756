"""Bits that flip without a trace: DVC goes by modification time, size and inode, and all of them stay."""

from __future__ import annotations

import os
from pathlib import Path


def flip(file: Path, position: int | None = None) -> None:
    """Flip the lowest bit of one byte, the middle one unless a position is given."""
    before = file.stat()
    file.chmod(0o644)  # who is not root could not write to a protected object
    with file.open("r+b") as opened:
        opened.seek(before.st_size // 2 if position is None else position)
        (byte,) = opened.read(1)
        opened.seek(-1, os.SEEK_CUR)
        opened.write(bytes([byte ^ 1]))
    file.chmod(before.st_mode)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns, after.st_mode) == (
        before.st_ino,
        before.st_size,
        before.st_mtime_ns,
        before.st_mode,
    )
