"""One run's transaction log, written so that writing the same again changes nothing.

The log is W&B's own record of a run, which ``wandb sync`` uploads. It is only appended to, so what is already there is read
first. A point of a curve is known by its name and step; all else by its mark, which the record carries as its ``uuid``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as protocol

from workbench_tracker_wandb import framing, media

STEP = "global_step"
"""The metric that curves are drawn over; W&B's own ``_step`` counts the rows of the history."""
GENERATION = "generation/"
"""What the columns of a generated text begin with in the history."""
_NANOSECONDS = 1e9
_OLDEST_READER = "0.70.0"
"""The oldest server that reads these records, as W&B's own client says it."""
_COUNTED = ("_step", "_timestamp", "_runtime", STEP)
"""Columns that every row of the history has."""
_DIGEST_HEAD = b"wandb-artifact-manifest-v1\n"
"""What W&B's digest of an artifact begins with."""


@dataclass(frozen=True)
class Run:
    """What W&B knows of a run before it tells anything."""

    name: str
    group: str
    kind: str
    """Its ``job_type``."""
    project: str
    entity: str
    """Empty for whom the API key belongs to, when it is uploaded."""
    config: Mapping[str, object]
    tags: list[str] = field(default_factory=list)
    notes: str = ""
    commit: str = ""
    remote: str = ""
    """URL of the git remote, without credentials."""


class RunLog:
    """The transaction log of one run and the files beside it. The folder is made when there is something to write."""

    def __init__(self, folder: Path, id: str) -> None:
        self.id = id
        self.summary: dict[str, Any] = {}
        self.generations: list[Mapping[str, object]] = []
        """The generated texts of the history, as far as a table holds them."""
        self.generated = 0
        """How many there are."""
        self._folder = folder
        self._file = folder / f"run-{id}.wandb"
        self._marks: set[str] = set()
        self._points: set[tuple[str, int]] = set()
        self._curves: set[str] = set()
        self._rows = self._records = self._end = 0
        self._pending = bytearray()
        self._run: protocol.RunRecord | None = None
        self._read()

    @property
    def name(self) -> str:
        """What the run is called."""
        return str(self._begun().display_name)

    @property
    def group(self) -> str:
        """The group that the run belongs to."""
        return str(self._begun().run_group)

    def has(self, mark: str) -> bool:
        """Whether a record with that mark was written."""
        return mark in self._marks

    def begin(self, mark: str, run: Run, time: float) -> None:
        """Describe the run; a later description takes the place of the one before, but for when it began."""
        self._add("header", header=protocol.HeaderRecord(version_info=protocol.VersionInfo(min_consumer=_OLDEST_READER)))
        record = protocol.RunRecord(
            run_id=self.id, project=run.project, entity=run.entity, run_group=run.group, job_type=run.kind
        )
        record.display_name, record.notes = media.text(run.name), media.text(run.notes)
        record.tags.extend(run.tags)
        record.git.commit, record.git.remote_url = run.commit, run.remote
        if self._run is None:
            record.start_time.FromNanoseconds(int(time * _NANOSECONDS))
        else:
            record.start_time.CopyFrom(self._run.start_time)
        for name, value in run.config.items():
            record.config.update.add(key=name, value_json=json.dumps(value))
        self._add(mark, run=record)

    def points(self, rows: Iterable[tuple[Mapping[str, float], int, float]]) -> None:
        """Numbers of curves, each row with its step and its time; the last of them are the run's summary."""
        new, last = [], {}
        for values, step, time in rows:
            fresh = {name: value for name, value in values.items() if (name, step) not in self._points}
            self._points.update((name, step) for name in fresh)
            last.update(fresh)
            if fresh:
                new.append(({**fresh, STEP: step}, time))
        for name in sorted(last.keys() - self._curves):
            options = protocol.MetricOptions(step_sync=True, defined=True)
            self._add("", metric=protocol.MetricRecord(name=name, step_metric=STEP, options=options))
        if last:
            self.summarize("", last)  # before the rows: where a crash tears them away, both are written again
        for values, time in new:
            self._add_row("", values, time)

    def generation(self, mark: str, known: Mapping[str, object], time: float) -> None:
        """A generated text and what is known of it."""
        if not self.has(mark):
            (row,) = media.table([known]).rows
            values = {f"{GENERATION}{name}": value for name, value in zip(known, row, strict=True) if value is not None}
            self._add_row(mark, values, time)

    def summarize(self, mark: str, values: Mapping[str, object]) -> None:
        """Results: what the run is compared by."""
        summary = protocol.SummaryRecord()
        for name, value in values.items():
            summary.update.add(nested_key=[name], value_json=json.dumps(value))
        self._add(mark, summary=summary)

    def table(self, mark: str, key: str, table: media.Table, time: float) -> None:
        """A table; W&B wants it as a file of the run and as an artifact."""
        if self.has(mark):
            return
        content = table.encode()
        path = f"media/table/{_stem(key, content)}.table.json"
        local = self._save(mark, path, content)
        artifact = _table_artifact(self._begun(), key, content, local)
        self._add(f"{mark}/artifact", artifact=artifact)
        name = artifact.manifest.contents[0].path
        addresses = {
            "artifact_path": f"wandb-client-artifact://{artifact.client_id}/{name}",
            "_latest_artifact_path": f"wandb-client-artifact://{artifact.sequence_client_id}:latest/{name}",
        }
        size = {"ncols": len(table.columns), "nrows": len(table.rows)}
        self._show(mark, key, {"_type": "table-file", **_file(path, content), **addresses, **size}, time)

    def plot(self, mark: str, key: str, plot: media.Plot, time: float) -> None:
        """A chart of W&B's own, with its data in a table."""
        if self.has(mark):
            return
        data = f"{key}_table"
        self.table(f"{mark}/data", data, plot.table, time)
        config = protocol.ConfigRecord()
        config.update.add(nested_key=["_wandb", "visualize", key], value_json=json.dumps(plot.panel(data)))
        self._add(mark, config=config)

    def text(self, mark: str, key: str, content: str, time: float) -> None:
        """A text that is shown as it stands."""
        if self.has(mark):
            return
        page = media.page(content)
        path = f"media/html/{_stem(key, page)}.html"
        self._save(mark, path, page)
        self._show(mark, key, {"_type": "html-file", **_file(path, page)}, time)

    def save(self, mark: str, name: str, content: bytes) -> None:
        """A file that is uploaded with the run, as it is."""
        if not self.has(f"{mark}/file"):
            self._save(mark, _plain(name), content)

    def end(self, code: int) -> None:
        """Close the run, whose uploading ends there; nothing may be told of it afterwards."""
        self._add("exit", exit=protocol.RunExitRecord(exit_code=code, runtime=int(self.summary.get("_runtime", 0))))

    def runtime(self, time: float) -> float:
        """Seconds from the run's beginning to a moment."""
        return float(time - self._begun().start_time.ToNanoseconds() / _NANOSECONDS)

    def flush(self) -> None:
        """Put all that was added into the file, after its last whole record."""
        if not self._pending:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(self._file, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as stream:
            stream.truncate(self._end)
            stream.seek(self._end)
            stream.write(self._pending)
        self._end += len(self._pending)
        self._pending.clear()

    def _begun(self) -> protocol.RunRecord:
        if self._run is None:
            raise LookupError(f"{self._file} does not say how the run began")
        return self._run

    def _read(self) -> None:
        if not self._file.exists():
            return
        for content, end in framing.read(self._file.read_bytes(), str(self._file)):
            self._remember(protocol.Record.FromString(content))
            self._end = end

    def _add_row(self, mark: str, values: Mapping[str, object], time: float) -> None:
        row = {**values, "_step": self._rows, "_timestamp": time, "_runtime": self.runtime(time)}
        history = protocol.HistoryRecord(step=protocol.HistoryStep(num=self._rows))
        for name, value in row.items():
            history.item.add(nested_key=[name], value_json=json.dumps(value))
        self._add(mark, history=history)

    def _show(self, mark: str, key: str, value: Mapping[str, object], time: float) -> None:
        self.summarize(f"{mark}/shown", {key: value})
        self._add_row(mark, {key: value}, time)

    def _save(self, mark: str, path: str, content: bytes) -> Path:
        file = self._folder / "files" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch = file.with_name(f".{file.name}.part")
        scratch.write_bytes(content)
        scratch.replace(file)
        self._add(f"{mark}/file", files=protocol.FilesRecord(files=[protocol.FilesItem(path=path)]))
        return file

    def _add(self, mark: str, **content: object) -> None:
        if mark in self._marks:
            return
        record = protocol.Record(num=self._records + 1, uuid=mark, **content)
        if not self._end and not self._pending:
            self._pending += framing.HEADER
        self._pending += framing.frame(record.SerializeToString(), self._end + len(self._pending))
        self._remember(record)

    def _remember(self, record: protocol.Record) -> None:
        self._records = record.num
        self._marks.add(record.uuid)
        self._marks.discard("")
        kind = record.WhichOneof("record_type")
        if kind == "run":
            self._run = record.run
        elif kind == "summary":
            self.summary.update(_values(record.summary.update))
        elif kind == "metric":
            self._curves.add(record.metric.name)
        elif kind == "history":
            self._remember_row(_values(record.history.item))

    def _remember_row(self, row: Mapping[str, Any]) -> None:
        self._rows = row["_step"] + 1
        if STEP in row:
            self._points.update((name, row[STEP]) for name in row if name not in _COUNTED)
        generation = {name.removeprefix(GENERATION): value for name, value in row.items() if name.startswith(GENERATION)}
        if generation:
            self.generated += 1
            self.generations += [generation] * (self.generated <= media.ROWS_KEPT)


def _values(items: Iterable[Any]) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def _table_artifact(run: protocol.RunRecord, key: str, content: bytes, local: Path) -> protocol.ArtifactRecord:
    """The artifact of one version of a table. W&B knows it by ids that a client makes up; these follow from the content."""
    entry = protocol.ArtifactManifestEntry(
        path=f"{key}.table.json",
        digest=base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode(),
        size=len(content),
        local_path=str(local),
        skip_cache=True,
    )
    listed = _DIGEST_HEAD + f"{entry.path}:{entry.digest}\n".encode()
    sequence = f"{run.run_id}/{key}"
    artifact = protocol.ArtifactRecord(
        run_id=run.run_id,
        project=run.project,
        entity=run.entity,
        type="run_table",
        name=f"run-{_stem(sequence, b'')}",
        digest=hashlib.md5(listed, usedforsecurity=False).hexdigest(),
        digest_algorithm="MANIFEST_MD5",
        aliases=["latest"],
        finalize=True,
        client_id=hashlib.sha512(f"{sequence}/{entry.digest}".encode()).hexdigest(),
        sequence_client_id=hashlib.sha512(sequence.encode()).hexdigest(),
    )
    artifact.manifest.version = 1
    artifact.manifest.storage_policy = "wandb-storage-policy-v1"
    artifact.manifest.storage_policy_config.add(key="storageLayout", value_json='"V2"')
    artifact.manifest.contents.append(entry)
    return artifact


def _file(path: str, content: bytes) -> Mapping[str, object]:
    return {"path": path, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def _stem(key: str, content: bytes) -> str:
    """A file's name that belongs to one key and content."""
    return f"{_plain(key)}_{hashlib.sha256(key.encode() + b'/' + content).hexdigest()[:20]}"


def _plain(name: str) -> str:
    """A name without what a path, or a pattern of W&B's, would take for more than a name."""
    return re.sub(r"[^A-Za-z0-9_.-]+|[.]{2,}", "-", name).lstrip(".-")[:80] or "unnamed"
