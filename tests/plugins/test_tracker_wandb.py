# ruff: noqa: E402
"""The tracker, through the real journal and the real watcher, read back as W&B itself reads and uploads.

W&B is no part of the tests' environment, since TRL imports it wherever it is: `test_tracker_wandb_beside.py` brings it.
"""

from __future__ import annotations

import contextlib
import gzip
import http.server
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import fake_dvc
import plugin_project
import psutil
import pytest

wandb = pytest.importorskip("wandb", reason="run by test_tracker_wandb_beside.py")

from fake_dvc import Step
from wandb.util import get_core_path
from workbench_tracker_wandb import media, notes
from workbench_tracker_wandb.tracker import WandbConfig, WandbTracker

from workbench import events
from workbench.errors import ParamsError, WorkbenchError
from workbench.testing import TrackerConformance
from workbench.testing.delivery import deliver, write_session
from workbench.tracking import watcher

PRETRAIN = Step("pretrain", "pretrain", "causal", outputs={"out": "data/models/base"}, steps=1500, metrics={"loss": 2.0})
EVAL = Step(
    "eval@perplexity-base",
    "eval",
    "perplexity",
    inputs=("data/models/base",),
    outputs={"out": "data/evals/p"},
    format="evaluation",
    metrics={"bits_per_byte": 1.5},
)
SFT = Step("sft", ends="failed")
FOLDER = ".workbench/wandb"
KEY = "c0ffee" * 6 + "cafe"
"""An API key in form."""


SESSION = events.SessionStarted("s", 1.0, "/w", "", dirty=False)
STARTED = events.StageStarted(
    run="r",
    time=1.0,
    session="s",
    stage="sft",
    entry="sft",
    kind="sft",
    plugin="trl",
    seed=3,
    pid=1,
    process_started=0.0,
    config={"lr": 0.1},
    lock={"use": "trl", "config": {"lr": 0.1}},
    inputs=[],
    fingerprint="f",
    machine={},
    command="",
    directory="/w",
)


class TestWandb(TrackerConformance):
    plugin = WandbTracker


@dataclass(frozen=True)
class Told:
    """A workspace whose sessions were told, with what its processes had for a home and for temporary files."""

    made: fake_dvc.Workspace
    home: Path
    environment: dict[str, str]

    @property
    def folder(self) -> Path:
        return self.made.root / FOLDER

    def of(self, run: str) -> Log:
        return read_run(self.made.root, run)

    def sessions(self) -> list[Log]:
        """In the order in which they began."""
        logs = [read(file) for file in sorted(self.folder.glob("*/*.wandb"))]
        return [log for log in logs if log.run["job_type"] == "session"]

    def files(self) -> dict[Path, bytes]:
        return {file: file.read_bytes() for file in self.folder.rglob("*") if file.is_file()}

    def processes(self) -> list[str]:
        """Processes that these sessions started, directly or not; a watcher that lets go of its session has a moment to end."""
        found = [process for process in psutil.process_iter() if self._is_home_of(process)]
        return [process.name() for process in psutil.wait_procs(found, timeout=10)[1]]

    def _is_home_of(self, process: psutil.Process) -> bool:
        try:
            return bool(process.environ().get("HOME") == str(self.home))
        except psutil.Error:
            return False


@dataclass
class Log:
    """A run as W&B's own reader shows it."""

    folder: Path
    kinds: list[str] = field(default_factory=list)
    run: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    charts: dict[str, Any] = field(default_factory=dict)
    artifacts: list[dict[str, Any]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    exits: list[dict[str, Any]] = field(default_factory=list)

    def add(self, kind: str, content: dict[str, Any]) -> None:
        {
            "run": lambda: self.run.update(content),
            "summary": lambda: self.summary.update(content.get("update", {})),
            "history": lambda: self.history.append(content["item"]),
            "metric": lambda: self.metrics.update({content.get("name", content.get("glob_name")): content}),
            "config": lambda: self.charts.update(content["update"]),
            "artifact": lambda: self.artifacts.append(content),
            "files": lambda: self.files.extend(item["path"] for item in content["files"]),
            "exit": lambda: self.exits.append(content),
        }.get(kind, lambda: None)()

    def curve(self, name: str) -> dict[int, float]:
        found = [(row["global_step"], row[name]) for row in self.history if name in row]
        assert len(found) == len(dict(found))
        return dict(found)

    def fact(self, name: str, part: str) -> Any:
        """A part of what the summary holds under a name: W&B's reader joins them with a dot."""
        return self.summary.get(f"{name}.{part}", self.summary.get(name, {}).get(part))

    def table(self, key: str) -> list[dict[str, Any]]:
        assert self.fact(key, "_type") == "table-file"
        content = json.loads((self.folder / "files" / self.fact(key, "path")).read_text())
        assert self.fact(key, "nrows") == len(content["data"])
        return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]

    def page(self, key: str) -> str:
        assert self.fact(key, "_type") == "html-file"
        return (self.folder / "files" / self.fact(key, "path")).read_text(encoding="utf-8")


def read(file: Path) -> Log:
    command = [get_core_path(), "leet", "inspect", "--json", "--no-observability", "--run-file", file, file.parent.parent]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    log = Log(file.parent)
    for line in shown.splitlines():
        record = json.loads(line)
        log.kinds.append(record["type"])
        log.add(record["type"], record[record["type"]])
    return log


def read_run(workspace: Path, run: str) -> Log:
    (file,) = (workspace / FOLDER).glob(f"*/run-{run}.wandb")
    return read(file)


@contextlib.contextmanager
def telling(workspace: Path, config: WandbConfig | None = None) -> Iterator[WandbTracker]:
    tracker = WandbTracker(config or WandbConfig())
    tracker.open(workspace)
    yield tracker
    tracker.close()


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Told:
    """Three sessions: one whose evaluation is killed, one that continues it, one whose stage fails."""
    site, home, scratch = (tmp_path_factory.mktemp(name) for name in ("site", "home", "scratch"))
    plugin_project.install_folder(site, project / "plugins/tracker-wandb")
    root = tmp_path_factory.mktemp("a space and ñ") / "w"
    stages = ["pretrain", "eval@perplexity-base", "sft"]
    made = fake_dvc.Workspace.create(root, stages, (project, site), ["wandb"])
    environment = {"HOME": str(home), "TMPDIR": str(scratch), "WANDB_API_KEY": KEY}
    assert made.repro(PRETRAIN, replace(EVAL, ends="killed", run="r-first", seconds=0.9), environment=environment) == 1
    assert made.repro(replace(EVAL, run="r-second"), environment=environment) == 0
    assert made.repro(SFT, environment=environment) == 1
    assert watcher.pending(root) == []
    return Told(made, home, environment)


def test_a_stage_holds_params_curves_results_and_charts(told: Told) -> None:
    log = told.of("r-pretrain")
    config = log.run["config"]["update"]
    assert {name: config[name] for name in ("use", "seed", "with")} == {
        "use": "causal",
        "seed": 3,
        "with": {"learning_rate": 0.1, "api_key": "(redacted)"},
    }
    (session, *_) = told.sessions()
    assert (log.run["display_name"], log.run["job_type"], log.run["tags"]) == ("pretrain", "pretrain", ["causal"])
    assert log.run["run_group"] == session.run["run_group"] == session.run["run_id"]
    assert log.curve("loss") == pytest.approx({i: 1 / (i + 1) for i in range(1500)})
    assert log.curve("grad_norm")[2] == "NaN"
    assert log.metrics["loss"]["step_metric"] == "global_step"
    times = [row["_timestamp"] for row in log.history if "loss" in row]
    assert times == sorted(times)
    assert [row["_step"] for row in log.history] == list(range(len(log.history)))
    assert log.summary["loss"] == pytest.approx(1 / 1500)
    assert log.summary["results/loss"] == 2.0
    assert log.summary["alerts/not-finite"] == "grad_norm is <nan> at step 2, token=(redacted)"
    assert log.summary["outputs/data/models/base"].endswith(".dir")
    assert log.charts["_wandb.visualize.charts/loss"]["panel_config"]["panelDefId"] == "wandb/lineseries/v0"
    assert {"step": 2, "lineKey": "_held", "lineVal": None} in log.table("charts/loss_table")  # was not a number
    assert log.charts["_wandb.visualize.charts/sizes"]["panel_config"]["fieldSettings"] == {"label": "source", "value": "kept"}
    assert log.table("charts/sizes_table") == [{"source": "a$", "kept": 3}, {"source": "b", "kept": 2}]
    assert [end["exit_code"] for end in log.exits] == [0]
    assert log.kinds[-1] == "exit"


def test_tables_are_those_of_wandb(told: Told) -> None:
    """Its own class reads the file, and its own artifact of it has the digest that the log names."""
    log = told.of("r-pretrain")
    assert log.table("outputs/out")[0]["path"] == "data/models/base"
    (artifact,) = (item for item in log.artifacts if "tables/examples" in str(item["manifest"]))
    (entry,) = artifact["manifest"]["contents"]
    own = wandb.Artifact("some", "run_table")
    own.add_file(entry["local_path"], name=entry["path"], skip_cache=True, policy="mutable")
    assert own.digest == artifact["digest"]
    table = wandb.Table.from_json(json.loads(Path(entry["local_path"]).read_text()), own)
    assert table.columns == ["text", "value"]
    assert table.data == [["<script>alert(1)</script>", 1.5], ["=cmd()", None]]


def test_hostile_text_is_inert(tmp_path: Path) -> None:
    text, table = tmp_path / "text.md", tmp_path / "table.json"
    text.write_text("<script>alert(1)</script>")
    table.write_text('[{"<b>": "\\ud800 <script>", "a": 1}, {"a": "one"}]')
    before = set(tmp_path.rglob("*"))
    with telling(tmp_path / "w") as tracker:
        tracker.session_started(replace(SESSION, files={"../../out.txt": str(text)}))
        tracker.stage_started(replace(STARTED, stage="\ud800 <b>"))
        tracker.artifact_logged(events.ArtifactLogged("r", 2.0, "../../[a]*?", "", "text", "r/text/_.._a_.md"), str(text))
        tracker.artifact_logged(events.ArtifactLogged("r", 2.0, "../../x", "", "table", "r/table/x.json"), str(table))
        tracker.session_finished(events.SessionFinished("s", 9.0, "FINISHED"))
    found = read_run(tmp_path / "w", "r")
    assert "&lt;script&gt;alert(1)" in found.page("texts/_.._a_")
    assert "<script" not in found.page("texts/_.._a_")
    assert [row["a"] for row in found.table("tables/x")] == [1, "one"]
    assert found.run["display_name"] == "? <b>"
    assert {file for file in tmp_path.rglob("*") if tmp_path / "w" not in (file, *file.parents)} == before


def test_a_killed_run_is_continued_with_its_id(told: Told) -> None:
    assert not list(told.folder.glob("*r-second*"))
    log = told.of("r-first")
    sessions = told.sessions()
    assert log.run["run_group"] == sessions[1].run["run_id"]
    assert list(log.curve("loss")) == [0, 1, 2, 3, 4]  # told twice
    assert [row["output"] for row in log.table("generations")] == ["hi", "ho", "hi", "ho"]  # two of the attempt that was killed
    assert "KILLED" in log.page("error")
    assert log.summary["status"] == "FINISHED"
    assert [end["exit_code"] for end in log.exits] == [0]
    assert [session.summary["status"] for session in sessions] == ["KILLED", "FINISHED", "FAILED"]
    assert sessions[0].fact("stages/eval@perplexity-base", "status") == "KILLED"
    assert sessions[1].fact("stages/eval@perplexity-base", "run") == "r-first"


def test_a_failed_stage_says_why_without_secrets(told: Told) -> None:
    log = told.of("r-sft")
    assert log.exits[0]["exit_code"] == 1
    assert "FAILED: no room\n\nTraceback: token=(redacted)" in log.page("error")
    files = [*told.folder.rglob("*"), *(told.made.root / ".workbench/journal").rglob("watcher.log")]
    secret = [file for file in files if file.is_file() and (b"canary" in file.read_bytes() or KEY.encode() in file.read_bytes())]
    assert secret == []


def test_a_session_holds_params_and_what_was_cached(told: Told) -> None:
    session = told.sessions()[-1]
    assert "sft: {use: trl}" in (session.folder / "files/params.yaml").read_text()
    assert "params.yaml" in session.files
    assert session.fact("restored/pretrain", "state") == "unchanged"
    assert session.exits[0]["exit_code"] == 1


def test_nothing_is_left_outside_the_workspace(told: Told) -> None:
    written = [file for folder in (told.home, Path(told.environment["TMPDIR"])) for file in folder.rglob("*")]
    assert written == []
    assert told.processes() == []


def test_replaying_everything_writes_nothing(told: Told) -> None:
    before = {file: (content, file.stat().st_mtime_ns) for file, content in told.files().items()}
    script = "from pathlib import Path; from workbench.tracking import watcher; print(watcher.replay(Path('.')))"
    paths = os.pathsep.join(map(str, told.made.pythonpath))
    environment = {**os.environ, **told.environment, "PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=told.made.root, env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout == "3\n"
    assert {file: (content, file.stat().st_mtime_ns) for file, content in told.files().items()} == before
    assert told.processes() == []


def test_what_a_crash_tore_is_noted_again_and_nothing_else(tmp_path: Path) -> None:
    """Wherever it tore; also where the file system left zeros."""

    def note() -> bytes:
        kept = notes.Notes(tmp_path / "r.jsonl")
        kept.add(STARTED, *(events.MetricsLogged("r", 2.0, {"loss": 1.0, "grad": math.nan}, step) for step in range(3)))
        kept.add(events.ArtifactLogged("r", 9.0, "a", "", "text", "a.md"), files={"content": "é" * 1000})
        return kept.file.read_bytes()

    whole = note()
    assert note() == whole
    assert [type(found.event).__name__ for found in notes.read(tmp_path / "r.jsonl")][::4] == ["StageStarted", "ArtifactLogged"]
    for cut in [0, 1, 100, 400, len(whole) - 200, len(whole) - 1]:
        for tail in (b"", bytes(50)):
            (tmp_path / "r.jsonl").write_bytes(whole[:cut] + tail)
            assert note() == whole, cut


def test_a_log_that_was_not_finished_is_written_again(tmp_path: Path) -> None:
    end = events.SessionFinished("s", 9.0, "FINISHED")
    with telling(tmp_path) as tracker:
        tracker.session_started(SESSION)
        tracker.stage_started(STARTED)
        tracker.metrics_logged([events.MetricsLogged("r", 2.0, {"loss": 1.0}, 0)])
        tracker.session_finished(end)
        (log,) = (tmp_path / FOLDER).glob("*/run-r.wandb")
        log.write_bytes(log.read_bytes()[:100])
        (tmp_path / FOLDER / ".events/r.written").unlink()
        tracker.session_finished(end)
    assert read_run(tmp_path, "r").curve("loss") == {0: 1.0}


def test_damaged_notes_are_named_and_kept_and_hold_up_no_other_run(tmp_path: Path) -> None:
    with telling(tmp_path) as tracker:
        tracker.session_started(SESSION)
        tracker.stage_started(STARTED)
        file = tmp_path / FOLDER / ".events/r.jsonl"
        file.write_text('{"type": "Unknown", "event": {}, "files": {}}\n')
        with pytest.raises(ConnectionError, match=r"r was not written(?s:.)*r\.jsonl, line 1(?s:.)*workbench sync"):
            tracker.session_finished(events.SessionFinished("s", 9.0, "FINISHED"))
        with pytest.raises(WorkbenchError, match=r"r\.jsonl, line 1"):
            notes.read(file)
    assert read_run(tmp_path, "s").summary["status"] == "FINISHED"
    assert not list((tmp_path / FOLDER).glob("*/run-r.wandb"))


def test_what_wandb_does_not_take_is_said_and_holds_up_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    contents = {"table": "[]", "chart": '{"title": "t", "y_label": "y", "x_label": "x", "x": [], "series": {}}', "text": ""}
    with telling(tmp_path) as tracker:
        tracker.session_started(SESSION)
        tracker.stage_started(STARTED)
        tracker.metrics_logged([events.MetricsLogged("r", 2.0, {"a*": 1.0, "b.c/d": 2.0, "": 3.0}, 0)])
        for kind, content in {**contents, "broken": "{"}.items():
            file = tmp_path / f"{kind}.json"
            file.write_text(content)
            tracker.artifact_logged(
                events.ArtifactLogged("r", 2.0, kind, "", "chart" if kind == "broken" else kind, file.name), str(file)
            )
        tracker.stage_finished(events.StageFinished("r", 3.0, {"e.f": math.inf}, 1.0, 1))
        tracker.session_finished(events.SessionFinished("s", 9.0, "FINISHED"))
    assert "JSONDecodeError" in caplog.text
    log = read_run(tmp_path, "r")
    assert log.curve("b.c/d") == {0: 2.0}
    assert log.summary["results/e.f"] == "Infinity"
    assert log.table("tables/table") == []
    assert log.summary["status"] == "FINISHED"


def test_a_table_is_bounded_and_holds_what_json_can() -> None:
    table = media.table([{"a": "x" * (1 if number else 20_000)} for number in range(media.ROWS_KEPT + 5)])
    assert len(table.data) == media.ROWS_KEPT
    assert len(table.data[0][0]) < media.LONGEST_CELL + 100
    mixed = media.table([{"a": 1}, {"a": "one"}, {"a": math.inf}, {"a": [1]}])
    assert [row[0] for row in mixed.data] == [1, "one", None, "[1]"]


def test_an_unknown_mode_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with pytest.raises(ParamsError, match="WANDB_MODE"):
        WandbTracker(WandbConfig()).open(tmp_path)


class Server(http.server.BaseHTTPRequestHandler):
    """As much of W&B's server as an upload asks for."""

    uploaded: ClassVar[dict[str, bytes]] = {}
    runs: ClassVar[dict[str, dict[str, Any]]] = {}
    rows: ClassVar[dict[str, dict[int, str]]] = {}
    """Run → place in the history → row."""
    ended: ClassVar[dict[str, int]] = {}

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        content = json.loads(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
        if self.path == "/graphql":
            self._answer({"data": self._query(content.get("operationName"), content.get("variables") or {})})
            return
        run = self.path.split("/")[-2]
        history = content.get("files", {}).get("wandb-history.jsonl", {"offset": 0, "content": []})
        place = enumerate(history["content"], history["offset"])
        self.rows.setdefault(run, {}).update(place)
        if content.get("complete"):
            self.ended[run] = content["exitcode"]
        self._answer({})

    def do_PUT(self) -> None:
        self.uploaded[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer({})

    def do_GET(self) -> None:
        self._answer({})

    def log_message(self, *arguments: object) -> None:
        pass

    def _query(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        address = f"http://127.0.0.1:{self.server.server_address[1]}"
        if name == "UpsertBucket":
            self.runs.setdefault(given["name"], {}).update({key: value for key, value in given.items() if value})
            project = {"id": "UA==", "name": given["project"], "entity": {"id": "RQ==", "name": "e"}}
            return {"upsertBucket": {"bucket": {"id": "Ug==", "name": given["name"], "project": project}, "inserted": True}}
        if name == "CreateRunFiles":
            files = [{"name": file, "uploadUrl": f"{address}/{given['run']}/{file}"} for file in given["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        if name == "CreateArtifact":
            return {"createArtifact": {"artifact": {"id": "QQ==", "state": "COMMITTED", "artifactSequence": {"id": "s"}}}}
        return {}

    def _answer(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Server]]:
    """W&B's server, and an environment without anything of the user's."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        (tmp_path / "home").mkdir()
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{listening.server_address[1]}")
        monkeypatch.delenv("WANDB_API_KEY", raising=False)
        yield Server
        listening.shutdown()


def test_a_run_is_uploaded_whole_and_again_when_it_has_grown(
    tmp_path: Path, server: type[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    table = tmp_path / "some.json"
    table.write_text('[{"a": 1}]')
    with telling(tmp_path / "w", WandbConfig(mode="online")) as tracker:
        tracker.session_started(SESSION)
        tracker.stage_started(STARTED)
        tracker.metrics_logged([events.MetricsLogged("r", 2.0 + step, {"loss": 1.0 / (step + 1)}, step) for step in range(3)])
        tracker.artifact_logged(events.ArtifactLogged("r", 5.0, "some", "", "table", "some.json"), str(table))
        tracker.session_finished(events.SessionFinished("s", 6.0, "KILLED"))
        assert server.runs["r"]["groupName"] == "s"
        assert server.ended == {"r": 1, "s": 1}  # it has not said how it ended
        tracker.session_started(replace(SESSION, session="t"))
        tracker.stage_started(replace(STARTED, session="t", time=8.0))
        tracker.metrics_logged([events.MetricsLogged("r", 9.0, {"loss": 0.2}, 3)])
        tracker.stage_finished(events.StageFinished("r", 10.0, {}, 1.0, 1))
        tracker.session_finished(events.SessionFinished("t", 11.0, "FINISHED"))
        assert server.ended == {"r": 0, "s": 1, "t": 0}
        rows = [json.loads(row) for _, row in sorted(server.rows["r"].items())]
        assert [row["loss"] for row in rows if "loss" in row] == pytest.approx([1, 1 / 2, 1 / 3, 0.2])
        assert json.loads(server.runs["r"]["config"])["with"]["value"] == {"lr": 0.1}
        assert any("media/table/tables/some" in path for path in server.uploaded)
        server.ended.clear()
        tracker.session_finished(events.SessionFinished("t", 11.0, "FINISHED"))
        assert server.ended == {}  # there was nothing new
    assert [file for file in (tmp_path / "home").rglob("*") if file.is_file()] == []
    assert [file for file in (tmp_path / "w").rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()] == []
    assert [process for process in psutil.Process().children(recursive=True) if "wandb" in process.name()] == []


def test_a_session_is_uploaded_at_its_end(tmp_path: Path, server: type[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_PROJECT", "of-mine")
    server.ended.clear()
    (tmp_path / "w").mkdir()
    write_session(tmp_path / "w")
    deliver(WandbTracker(WandbConfig()), tmp_path / "w")
    assert server.ended == {"4242-sample": 1, "r-pretrain": 0, "r-eval": 0, "r-sft": 1}  # the last was killed, and so the session
    assert server.runs["r-eval"]["project"] == "of-mine"
    server.ended.clear()
    deliver(WandbTracker(WandbConfig()), tmp_path / "w")
    assert server.ended == {}


def test_an_upload_that_is_refused_is_an_error(tmp_path: Path, server: type[Server]) -> None:
    with telling(tmp_path / "w", WandbConfig(mode="online")) as tracker:
        tracker.session_started(SESSION)
        with pytest.raises(ConnectionError, match="WANDB_API_KEY"):
            tracker.session_finished(events.SessionFinished("s", 6.0, "FINISHED"))


def test_the_watcher_does_not_load_the_client() -> None:
    script = "import sys, workbench_tracker_wandb; print(set(sys.modules) & {'wandb', 'numpy', 'torch', 'tensorflow'})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    shown = subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True).stdout
    assert shown == "set()\n"
