"""What a run's log is written from: its events, a line of JSON each. W&B's client cannot go on with a run offline."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from workbench import events, redaction
from workbench.errors import WorkbenchError
from workbench.events import AnyEvent
from workbench.redaction import Redactor

_CONFIGURED = ("config", "lock", "machine")
"""Fields whose keys say whether their values are secret."""


@dataclass(frozen=True)
class Note:
    """An event, and the texts of the files that it names."""

    event: AnyEvent
    files: Mapping[str, str] = field(default_factory=dict)


class Notes:
    """The events of a run or of a session, each once. The file is made with the first of them."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.session = ""
        """The session in which the run was last started."""
        self.runs: dict[str, None] = {}
        """The runs that were started, in order."""
        self._marks: set[str] = set()
        for line in self._whole_lines():
            self._marks.add(json.loads(line)["mark"])
            if b'"type": "StageStarted"' in line:
                self._remember(_decode(line).event)

    def add(self, *told: AnyEvent, files: Mapping[str, str] | None = None) -> None:
        """Keep what was not told before, without secrets; it is in the file when this returns."""
        redactor, lines = redaction.of_environment(), []
        for event in told:
            self._remember(event)
            mark = hashlib.sha256(repr(event).encode("utf-8", "backslashreplace")).hexdigest()[:20]
            if mark not in self._marks:
                self._marks.add(mark)
                lines.append(_encode(mark, event, files or {}, redactor))
        if lines:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("ab") as stream:
                stream.writelines(lines)

    def _remember(self, event: AnyEvent) -> None:
        if isinstance(event, events.StageStarted):
            self.session = event.session
            self.runs[event.run] = None

    def _whole_lines(self) -> list[bytes]:
        """The lines that are there; what a crash tore at the end is cut off."""
        if not self.file.exists():
            return []
        content = self.file.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self.file, len(whole))
        return whole.splitlines()


def id_of(run: str) -> str:
    """A name that W&B takes for an id."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", run)


def read(file: Path) -> list[Note]:
    """Everything that was kept.

    Raises:
        WorkbenchError: a line cannot be read.
    """
    found = []
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        try:
            found.append(_decode(line))
        except (ValueError, KeyError, AttributeError) as error:
            fix = "move that file away; `workbench sync --again` writes it again"
            raise WorkbenchError("it is no event of this version, or it is damaged", f"{file}, line {number}", fix) from error
    return found


def _encode(mark: str, event: AnyEvent, files: Mapping[str, str], redactor: Redactor) -> bytes:
    content = {name: _hidden(name, value, redactor) for name, value in asdict(event).items()}
    record = {"type": type(event).__name__, "mark": mark, "event": content, "files": files}
    return json.dumps(record, ensure_ascii=False, default=str).encode("utf-8", "replace") + b"\n"


def _hidden(name: str, value: Any, redactor: Redactor) -> Any:
    if name == "command":
        return redactor.command(value)
    return redactor.tree(value) if name in _CONFIGURED else redactor.strings(value)


def _decode(line: bytes) -> Note:
    record = json.loads(line)
    return Note(_reader(record["type"]).validate_python(record["event"]), record["files"])


@cache
def _reader(kind: str) -> TypeAdapter[AnyEvent]:
    return TypeAdapter(getattr(events, kind))
