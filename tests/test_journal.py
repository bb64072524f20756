from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench import events
from workbench.run import Chart, Generation
from workbench.tracking.journal import Journal, encode, find_interrupted, read_events

ARTIFACT = events.Artifact("data", "data/corpus", "corpus", "abc.dir", 3, 12, {"id": "string"})


def started(run: str, fingerprint: str = "f1", **changes: object) -> events.StageStarted:
    values = {
        **dict.fromkeys(("session", "stage", "entry", "kind", "plugin", "command", "directory"), "x"),
        "seed": 1,
        "pid": 1,
        "process_started": 2.5,
        "config": {"lr": 1e-3},
        "lock": {"use": "trl"},
        "machine": {},
        "inputs": [ARTIFACT],
        "fingerprint": fingerprint,
    }
    return events.StageStarted(run, 1.0, **{**values, **changes})  # type: ignore[arg-type]


def read_all(path: Path) -> list[events.AnyEvent]:
    return read_events(path, 0)[0]


def test_every_listener_call_can_be_read_back(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "s", "r")
    journal.write(started("r"))
    journal.metrics({"loss": 1, "lr": np.float32(0.5)}, 3)  # type: ignore[dict-item]
    journal.table("t", "Title", [{"a": 1, "b": None}, {"a": np.int64(2)}])  # type: ignore[dict-item]
    journal.chart(Chart("c", "Loss", "step", "nats", [1, 2], {"train": [1.0, math.nan]}))
    journal.text("note", "# Hello ñ")
    journal.generation(Generation("p", "o", 3, 0.5, 1.0))
    journal.progress(1, 2, "steps", "")
    journal.close()

    begin, metrics, table, chart, text, generation = read_all(journal.path)

    assert begin == started("r")
    assert isinstance(metrics, events.MetricsLogged)
    assert (metrics.values, metrics.step) == ({"loss": 1.0, "lr": 0.5}, 3)
    folder = journal.path.parent
    assert isinstance(table, events.ArtifactLogged)
    assert json.loads((folder / table.file).read_text()) == [{"a": 1, "b": None}, {"a": 2}]
    assert isinstance(chart, events.ArtifactLogged)
    assert math.isnan(json.loads((folder / chart.file).read_text())["series"]["train"][1])
    assert isinstance(text, events.ArtifactLogged)
    assert (folder / text.file).read_text(encoding="utf-8") == "# Hello ñ"
    assert isinstance(generation, events.GenerationLogged)
    assert generation.score == 1.0


@given(st.dictionaries(st.text(max_size=5), st.floats(), min_size=1, max_size=3))
def test_any_float_survives(tmp_path_factory: pytest.TempPathFactory, values: dict[str, float]) -> None:
    path = tmp_path_factory.mktemp("j") / "r.jsonl"
    path.write_bytes(encode(events.MetricsLogged("r", 1.0, values, None)))
    (event,) = read_all(path)
    assert isinstance(event, events.MetricsLogged)
    assert event.values.keys() == values.keys()
    assert all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(event.values.values(), values.values(), strict=True))


@given(cut=st.integers(0, 400), limit=st.integers(1, 300))
def test_reading_in_pieces_equals_reading_whole_and_a_torn_tail_waits(
    tmp_path_factory: pytest.TempPathFactory, cut: int, limit: int
) -> None:
    lines = [encode(events.MetricsLogged("r", float(i), {"x": i}, i)) for i in range(5)]
    path = tmp_path_factory.mktemp("j") / "r.jsonl"
    path.write_bytes(b"".join(lines)[:cut])
    found: list[events.AnyEvent] = []
    offset, before = 0, -1
    while offset != before:
        before = offset
        more, offset = read_events(path, offset, limit=limit)
        found += more
    whole = path.read_bytes().count(b"\n")
    assert [event.step for event in found] == list(range(whole))  # type: ignore[union-attr]
    assert offset == sum(map(len, lines[:whole]))


def test_a_torn_line_is_passed_over_when_the_run_continues(tmp_path: Path) -> None:
    first = Journal.create(tmp_path, "s", "r")
    first.write(started("r"))
    first.close()
    with first.path.open("ab") as file:
        file.write(b'{"type": "MetricsLogged", "run": "r", "ti')
    again = Journal.create(tmp_path, "s", "r")
    again.write(started("r"))
    again.close()
    assert len(read_all(first.path)) == 2


def test_unknown_events_and_fields_of_later_versions_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    record = {"type": "OutputsHashed", "run": "r", "time": 1.0, "outputs": {"a": "b"}, "later": 1}
    path.write_text('{"type": "Unheard", "run": "r"}\n' + json.dumps(record) + "\n")
    assert read_all(path) == [events.OutputsHashed("r", 1.0, {"a": "b"})]


def test_metrics_are_written_within_half_a_second_even_when_nothing_follows(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "s", "r")
    for step in range(100):
        journal.metrics({"loss": 1.0}, step)
    assert len(read_all(journal.path)) < 100  # they are batched
    deadline = time.monotonic() + 3
    while len(read_all(journal.path)) < 100 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(read_all(journal.path)) == 100
    journal.close()


def test_names_cannot_leave_the_folder(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, "s", "r")
    journal.text("../../evil", "x")
    journal.close()
    assert {path.name for path in tmp_path.iterdir()} == {".workbench"}
    assert list(journal.path.with_suffix("").rglob("*.md"))


@pytest.mark.parametrize(("end", "continues"), [("killed", True), ("KILLED", True), ("FAILED", False), ("FINISHED", False)])
def test_only_a_killed_run_is_continued(tmp_path: Path, end: str, continues: bool) -> None:
    journal = Journal.create(tmp_path, "s1", "r")
    journal.write(started("r"))
    if end == "FINISHED":
        journal.write(events.StageFinished("r", 2.0, {}, 1.0, 1))
    elif end != "killed":
        journal.write(events.StageFailed("r", 2.0, end, "e"))  # type: ignore[arg-type]
    journal.close()
    found = find_interrupted(tmp_path, "s2", "f1")
    assert (found is not None) == continues
    assert find_interrupted(tmp_path, "s2", "other") is None
    if found is not None:
        assert (found.run, found.path.parent.name) == ("r", "s2")
        found.close()


def test_lines_before_a_kill_are_whole(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from workbench.tracking.journal import Journal\n"
        "j = Journal.create(Path(sys.argv[1]), 's', 'r'); i = 0\n"
        "while True:\n    j.text('note', 'x'); j.metrics({'i': i}, i); i += 1\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    path = tmp_path / ".workbench/journal/s/r.jsonl"
    deadline = time.monotonic() + 20
    while not (path.exists() and path.stat().st_size > 50_000) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    found = read_all(path)
    assert len(found) > 100
    assert len(found) == len(path.read_bytes()[: 1 << 20].splitlines())


def test_a_full_disk_does_not_end_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.create(tmp_path, "s", "r")
    real = os.write

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    journal.metrics({"loss": 1.0}, 1)
    journal.write(events.OutputsHashed("r", 1.0, {}))
    monkeypatch.setattr(os, "write", real)
    journal.close()
    assert len(read_all(journal.path)) == 2
    assert capsys.readouterr().err.count("No space left") == 1


def test_it_imports_nothing_heavy() -> None:
    code = "import sys, workbench.tracking.journal, workbench.tracking.session, workbench.tracking.watcher; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"mlflow", "torch", "transformers", "pandas", "pyarrow"} & set(modules)
