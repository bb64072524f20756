"""JSON as rows: an object a line (https://jsonlines.org), or one array of objects, read as a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from workbench.errors import ArtifactError
from workbench.kinds.rows import BadRow, Row, require_columns
from workbench_source_files.finding import type_of
from workbench_source_files.limits import Limits, lines, open_text

if TYPE_CHECKING:
    from workbench_source_files import FilesConfig

_PIECE = 1 << 16
_A_LINE = "write each row as one JSON object in one line, for example by `jq -c . OLD > NEW`"


def read_json(name: str, file: Path, config: FilesConfig, limits: Limits, *, source: str) -> Iterator[Row | BadRow]:
    """The rows of a file of either form, told apart by the first character; numbered by line, or by place in the array.

    Raises:
        ArtifactError: wrong columns, an array that is broken, or one object laid out over lines in a file called .json.
    """
    with open_text(name, file, limits) as stream:
        is_array = _first_character(stream) == "["
    read = _items if is_array else _lines
    checked = False
    with open_text(name, file, limits) as stream:
        for row in read(name, stream, limits, source):
            if isinstance(row, Row) and not checked:
                where = row.origin if is_array else row.origin.replace(":", ", line ")
                require_columns(list(row.values), config, where, [row.values])
                checked = True
            yield row


def _first_character(stream: TextIO) -> str:
    while (character := stream.read(1)).isspace():
        pass
    return character


def _lines(name: str, stream: TextIO, limits: Limits, source: str) -> Iterator[Row | BadRow]:
    decoder = _Decoder()
    for number, line in lines(stream, limits.record_bytes):
        origin = f"{name}:{number}"
        if line is None:
            yield BadRow(origin, "too-long", f"more than max_record_bytes {limits.record_bytes}")
        elif line.strip():
            if number == 1 and line.strip() == "{" and type_of(name) == ".json":
                fix = (
                    "save its list of rows, for example by `jq -c '.KEY[]' OLD > NEW.jsonl`, where KEY is the one that holds them"
                )
                raise ArtifactError("the file is one JSON object, laid out over lines, and no list of rows", name, fix)
            yield _row(origin, source, line, decoder)


def _row(origin: str, source: str, line: str, decoder: _Decoder) -> Row | BadRow:
    decoder.twice = []
    try:
        line.encode()
        values = decoder.decode(line)
    except UnicodeEncodeError as error:
        return BadRow(origin, "bad-utf8", f"at character {error.start}")
    except (ValueError, RecursionError) as error:
        return BadRow(origin, "malformed-json", str(error), _A_LINE)
    return decoder.row(origin, source, values)


class _Decoder(json.JSONDecoder):
    """Notes keys that an object has twice, of which ``json`` keeps the last."""

    def __init__(self) -> None:
        self.twice: list[str] = []
        super().__init__(object_pairs_hook=self._object)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            keys = [key for key, _ in pairs]
            self.twice += [key for key in made if keys.count(key) > 1]
        return made

    def row(self, origin: str, source: str, values: object) -> Row | BadRow:
        """The row that a value is."""
        if self.twice:
            return BadRow(origin, "repeated-key", f"two values of {self.twice[0]!r}", "keep one of the values")
        if not isinstance(values, dict):
            return BadRow(origin, "malformed-json", f"{type(values).__name__} instead of an object", _A_LINE)
        return Row(origin, source, values)


def _items(name: str, stream: TextIO, limits: Limits, source: str) -> Iterator[Row | BadRow]:
    """The items of an array, of which never more than one and a piece of the file are in memory."""
    text = _Window(name, stream, limits)
    text.skip("[")
    number = 0
    if text.peek() == "]":
        text.skip("]")
    else:
        while True:
            number += 1
            yield text.item(f"{name}#{number}", source)
            if text.peek() != ",":
                break
            text.skip(",")
        text.skip("]")
    if text.peek():
        raise ArtifactError("more follows after the array", f"{name}, item {number}", _A_LINE)


class _Window:
    """The part of a stream that is being decoded."""

    def __init__(self, name: str, stream: TextIO, limits: Limits) -> None:
        self._name, self._stream, self._limits, self._decoder = name, stream, limits, _Decoder()
        self._text, self._place, self._ended = "", 0, False

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            while self._place < len(self._text):
                if not self._text[self._place].isspace():
                    return self._text[self._place]
                self._place += 1
            if self._ended:
                return ""
            self._more()

    def skip(self, character: str) -> None:
        """Go past a character that must be next."""
        if self.peek() != character:
            raise self._broken(f"no {character!r} where one must be")
        self._place += 1

    def item(self, origin: str, source: str) -> Row | BadRow:
        """The value that is next."""
        self._decoder.twice = []
        values, end = self._decoded(origin)
        item, self._place = self._text[self._place : end], end
        try:
            size = len(item.encode())
        except UnicodeEncodeError as error:
            return BadRow(origin, "bad-utf8", f"at character {error.start} of the item")
        if size > self._limits.record_bytes:
            return BadRow(origin, "too-long", f"more than max_record_bytes {self._limits.record_bytes}")
        return self._decoder.row(origin, source, values)

    def _decoded(self, origin: str) -> tuple[Any, int]:
        """The value that is next, and its end in the text."""
        self.peek()
        while True:
            problem = "malformed, or longer than max_record_bytes"
            try:
                values, end = self._decoder.raw_decode(self._text, self._place)
            except RecursionError as error:
                raise self._broken(f"item {origin} is nested too deeply") from error
            except ValueError as error:
                problem = str(error)
            else:
                if self._ended or end < len(self._text):  # a number may go on
                    return values, end
            if self._ended or len(self._text) - self._place > self._limits.record_bytes:
                raise self._broken(f"item {origin}: {problem}")
            self._more()

    def _more(self) -> None:
        """Double what is in memory, so that a long item is decoded a few times only."""
        piece = self._stream.read(max(_PIECE, len(self._text) - self._place))
        self._text, self._place = self._text[self._place :] + piece, 0
        self._ended = not piece

    def _broken(self, problem: str) -> ArtifactError:
        return ArtifactError(f"the JSON array is broken: {problem}", self._name, "mend the array, or remove the file")
