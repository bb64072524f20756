"""Bounds that keep hostile or broken files from filling the memory or the disk."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

from workbench.errors import ArtifactError

if TYPE_CHECKING:
    import pyarrow as pa

    Buffer = bytearray | memoryview

_SLACK = 1 << 20
"""Bytes that may be unpacked before the ratio counts: small files of one repeated letter are harmless."""
_CODECS = {".gz": "gzip", ".zst": "zstd"}


@dataclass(frozen=True)
class Limits:
    """What a file may ask for."""

    record_bytes: int
    decompressed_bytes: int
    compression_ratio: float

    def require(self, unpacked: int, packed: int, name: str) -> None:
        """Refuse a file that unpacks to more than is allowed.

        Raises:
            ArtifactError: names the limit.
        """
        if unpacked > self.decompressed_bytes:
            raise ArtifactError(
                f"it unpacks to more than {self.decompressed_bytes} bytes",
                name,
                "raise `max_decompressed_bytes` if you trust the file",
            )
        if unpacked > self.compression_ratio * packed + _SLACK:
            raise ArtifactError(
                f"it unpacks to more than {self.compression_ratio:g} times its size",
                name,
                "raise `max_compression_ratio` if you trust the file",
            )


def open_text(name: str, file: Path, limits: Limits) -> TextIO:
    """A file as a stream of text, unpacked as it is read.

    Bytes that are not UTF-8 become lone surrogates, which no valid text holds, so that the record they are in can
    be told from the others. A byte order mark is dropped.

    Raises:
        ArtifactError: the file is UTF-16, by its byte order mark.
    """
    raw = file.open("rb")
    codec = _CODECS.get(Path(name.lower()).suffix)
    stream = raw if codec is None else io.BufferedReader(_Unpacked(name, raw, codec, limits))
    if stream.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        stream.close()
        raise ArtifactError("the file is UTF-16", name, "save it as UTF-8, for example by `iconv -f utf-16 -t utf-8 OLD > NEW`")
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape")


class _Unpacked(io.RawIOBase):
    """A compressed file that is unpacked in bounded steps and stops at its limits."""

    def __init__(self, name: str, raw: BinaryIO, codec: str, limits: Limits) -> None:
        import pyarrow as pa

        self._name, self._raw, self._limits = name, raw, limits
        self._stream: pa.NativeFile = pa.CompressedInputStream(pa.PythonFile(raw, "r"), codec)
        self._unpacked = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:  # type: ignore[override]  # typeshed's name for it is not importable
        block = self._stream.read(len(buffer))
        self._unpacked += len(block)
        self._limits.require(self._unpacked, self._raw.tell(), self._name)
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


def lines(stream: TextIO, limit: int) -> Iterator[tuple[int, str | None]]:
    """Number and text of each line; None for a line of more than ``limit`` characters, which is never held whole."""
    number = 0
    while piece := stream.readline(limit + 1):
        number += 1
        if len(piece) <= limit or piece.endswith("\n"):
            yield number, piece
            continue
        while piece and not piece.endswith("\n"):
            piece = stream.readline(limit + 1)
        yield number, None


def decoded_bytes(arrays: Iterable[pa.Array]) -> int:
    """Bytes that the values take once each is written out, which dictionaries and slices hide; nothing is written for it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    size = 0
    for array in arrays:
        if pa.types.is_struct(array.type) or pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
            inner = array.flatten()
            size += decoded_bytes(inner if isinstance(inner, list) else [inner])
        elif pa.types.is_dictionary(array.type):
            lengths = pc.binary_length(array.dictionary).cast("int64")
            size += pc.sum(lengths.take(array.indices)).as_py() or 0
        else:
            size += array.nbytes
    return size
