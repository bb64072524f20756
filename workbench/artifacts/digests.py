"""Content hashes of artifacts: DVC's if dvc.lock has them, otherwise computed the same way."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

DECIDES_NO_OUTPUT = True

FOLDER_SUFFIX = ".dir"
"""Suffix of DVC's hash of a folder."""
_THREADS = os.cpu_count() or 1
_AHEAD = 64


def of(path: Path) -> str:
    """DVC's hash of a file (MD5), or of a folder (MD5 of its sorted listing, with suffix ``.dir``)."""
    return combined(listing(path))


def listing(path: Path) -> dict[str, str]:
    """Relative path → MD5 of every file in a folder; a single file has an empty relative path."""
    if path.is_file():
        return {"": md5(path)}
    files = (file for file in path.rglob("*") if file.is_file())
    return {file.relative_to(path).as_posix(): found for file, found in hashed(files)}


def combined(files: Mapping[str, str]) -> str:
    """DVC's hash of a :func:`listing`."""
    if list(files) == [""]:
        return files[""]
    return hashlib.md5(folder_object(files).encode()).hexdigest() + FOLDER_SUFFIX


def folder_object(files: Mapping[str, str]) -> str:
    """What DVC's cache keeps of a folder, as JSON."""
    return json.dumps([{"md5": found, "relpath": name} for name, found in sorted(files.items())], sort_keys=True)


def md5(file: Path) -> str:
    """MD5 of a file's bytes, in 32 hexadecimal digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "md5").hexdigest()


def hashed(files: Iterable[Path], one: Callable[[Path], str] = md5) -> Iterator[tuple[Path, str]]:
    """Each file with its hash, in the given order; one reading thread per core, with few files ahead in memory."""
    waiting: deque[tuple[Path, Future[str]]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for file in files:
            waiting.append((file, pool.submit(one, file)))
            if len(waiting) > _AHEAD:
                done, future = waiting.popleft()
                yield done, future.result()
        yield from ((file, future.result()) for file, future in waiting)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def of_record(record: object) -> str:
    """16 hexadecimal digits that identify a JSON-serialisable record."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]
