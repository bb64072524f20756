# ruff: noqa: E402
"""The tracker, through the real journal and the real watcher, read back as W&B itself reads and uploads.

W&B is no part of the tests' environment, since TRL imports it wherever it is: `test_tracker_wandb_beside.py` brings it.
"""

from __future__ import annotations

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
from wandb.proto import wandb_internal_pb2 as protocol
from wandb.util import get_core_path
from workbench_tracker_wandb import framing, media
from workbench_tracker_wandb.run_log import Run, RunLog
from workbench_tracker_wandb.tracker import WandbConfig, WandbTracker
from workbench_tracker_wandb.upload import upload

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
RUN = Run("some", "g", "sft", "p", "", {"with": {"lr": 0.1}})


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
        (file,) = self.folder.glob(f"*/run-{run}.wandb")
        return read(file)

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
            "summary": lambda: self.summary.update(content["update"]),
            "history": lambda: self.history.append(content["item"]),
            "metric": lambda: self.metrics.update({content["name"]: content}),
            "config": lambda: self.charts.update(content["update"]),
            "artifact": lambda: self.artifacts.append(content),
            "files": lambda: self.files.extend(item["path"] for item in content["files"]),
            "exit": lambda: self.exits.append(content),
        }.get(kind, lambda: None)()

    def curve(self, name: str) -> dict[int, float]:
        found = [(row["global_step"], row[name]) for row in self.history if name in row]
        assert len(found) == len(dict(found))
        return dict(found)

    def table(self, key: str) -> list[dict[str, Any]]:
        shown = self.summary[key]
        assert shown["_type"] == "table-file"
        content = json.loads((self.folder / "files" / shown["path"]).read_text())
        assert shown["nrows"] == len(content["data"])
        return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]

    def page(self, key: str) -> str:
        shown = self.summary[key]
        assert shown["_type"] == "html-file"
        return (self.folder / "files" / shown["path"]).read_text(encoding="utf-8")


def read(file: Path) -> Log:
    command = [get_core_path(), "leet", "inspect", "--json", "--no-observability", "--run-file", file, file.parent.parent]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    log = Log(file.parent)
    for line in shown.splitlines():
        record = json.loads(line)
        log.kinds.append(record["type"])
        log.add(record["type"], record[record["type"]])
    return log


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Told:
    """Three sessions: one whose evaluation is killed, one that continues it, one whose stage fails."""
    site, home, scratch = (tmp_path_factory.mktemp(name) for name in ("site", "home", "scratch"))
    plugin_project.install_folder(site, checkout / "plugins/tracker-wandb")
    root = tmp_path_factory.mktemp("a space and ñ") / "w"
    stages = ["pretrain", "eval@perplexity-base", "sft"]
    made = fake_dvc.Workspace.create(root, stages, (checkout, site), ["wandb"])
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
    assert log.exits == [{"exit_code": 0}]
    assert log.kinds[-1] == "exit"


def test_tables_are_those_of_wandb(told: Told) -> None:
    """Its own class reads the file, and its own artifact of it has the digest that the log names."""
    log = told.of("r-pretrain")
    assert log.table("outputs/out")[0]["path"] == "data/models/base"
    (artifact,) = (item for item in log.artifacts if "tables-examples" in item["name"])
    (entry,) = artifact["manifest"]["contents"]
    own = wandb.Artifact("some", "run_table")
    own.add_file(entry["local_path"], name=entry["path"], skip_cache=True, policy="mutable")
    assert own.digest == artifact["digest"]
    table = wandb.Table.from_json(json.loads(Path(entry["local_path"]).read_text()), own)
    assert table.columns == ["text", "value"]
    assert table.data == [["<script>alert(1)</script>", 1.5], ["=cmd()", None]]


def test_hostile_text_is_inert(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "run", "r")
    log.begin("stage", replace(RUN, name="\ud800 <b>"), 1.0)
    log.text("text", "texts/../../../[a]*?", "<script>alert(1)</script> \ud800", 2.0)
    log.table("table", "tables/../../../x", media.table([{"<b>": "\ud800 <script>"}]), 2.0)
    log.save("file", "../../out.txt", b"x")
    log.flush()
    found = read(tmp_path / "run/run-r.wandb")
    assert "&lt;script&gt;alert(1)" in found.page("texts/../../../[a]*?")
    assert "<script" not in found.page("texts/../../../[a]*?")
    assert [file for file in tmp_path.rglob("*") if file.is_file() and tmp_path / "run" not in file.parents] == []
    assert all(not set("[]*?") & set(path) and ".." not in path for path in found.files)


def test_a_killed_run_is_continued_with_its_id(told: Told) -> None:
    assert not list(told.folder.glob("*r-second*"))
    log = told.of("r-first")
    sessions = told.sessions()
    assert log.run["run_group"] == sessions[1].run["run_id"]
    assert list(log.curve("loss")) == [0, 1, 2, 3, 4]  # told twice
    assert [row["output"] for row in log.table("generations")] == ["hi", "ho", "hi", "ho"]  # two of the attempt that was killed
    assert "KILLED" in log.page("error")
    assert log.summary["status"] == "FINISHED"
    assert log.kinds.count("exit") == 1  # what stands after it would not be uploaded
    assert log.kinds[-1] == "exit"
    assert [session.summary["status"] for session in sessions] == ["KILLED", "FINISHED", "FAILED"]
    assert sessions[0].summary["stages/eval@perplexity-base"]["status"] == "KILLED"
    assert sessions[1].summary["stages/eval@perplexity-base"]["run"] == "r-first"


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
    assert session.summary["restored/pretrain"]["state"] == "unchanged"
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


def test_what_a_crash_tore_is_written_again_and_nothing_else(tmp_path: Path) -> None:
    """Wherever it tore, W&B reads the log of a run that was never torn; also where the file system left zeros."""

    def write() -> Log:
        log = RunLog(tmp_path, "r")
        log.begin("stage", RUN, 1.0)
        log.points([({"loss": 1.0 / (step + 1)}, step, 2.0 + step) for step in range(3)])
        log.summarize("long", {"text": "x" * 70_000})  # three blocks
        log.text("note", "texts/note", "once", 9.0)
        log.end(0)
        log.flush()
        return read(file)

    file = tmp_path / "run-r.wandb"
    whole = write()
    content = file.read_bytes()
    assert write() == whole
    assert file.read_bytes() == content
    for cut in [0, 3, 7, 8, 100, 400, 32_768, 65_536, len(content) - 200, len(content) - 1]:
        for tail in (b"", bytes(50)):
            file.write_bytes(content[:cut] + tail)
            again = write()
            assert replace(again, kinds=[]) == replace(whole, kinds=[]), cut
            assert again.kinds.count("history") == whole.kinds.count("history")
            assert again.kinds[-1] == "exit"
            assert not file.read_bytes().endswith(bytes(20))


def test_records_of_any_length_are_read_by_wandb(tmp_path: Path) -> None:
    """Also those that leave just no room, or next to none, in a block of 32 KiB."""

    def encode(length: int) -> bytes:
        return protocol.Record(output_raw=protocol.OutputRawRecord(line="y" * length)).SerializeToString()

    content = bytearray(framing.HEADER)
    lengths: list[int] = []
    for room in range(16):
        left = 32_768 - len(content) % 32_768
        length = next(some for some in range(left, 0, -1) if len(framing.frame(encode(some), len(content))) <= left - room)
        for line in (length, 0, 1, 100_000):
            content += framing.frame(encode(line), len(content))
            lengths.append(line)
    (tmp_path / "run-r.wandb").write_bytes(content)
    found = [protocol.Record.FromString(record) for record, _ in framing.read(bytes(content), "r")]
    assert [len(record.output_raw.line) for record in found] == lengths
    assert read(tmp_path / "run-r.wandb").kinds == ["output_raw"] * len(lengths)


def test_a_damaged_log_is_named_and_kept(tmp_path: Path) -> None:
    log = RunLog(tmp_path, "r")
    log.begin("stage", RUN, 1.0)
    log.end(0)
    log.flush()
    file = tmp_path / "run-r.wandb"
    spoilt = bytearray(file.read_bytes())
    spoilt[20] ^= 1
    file.write_bytes(spoilt)
    with pytest.raises(WorkbenchError, match=r"(?s)run-r\.wandb, byte 7.*state\.json"):
        RunLog(tmp_path, "r")
    assert file.read_bytes() == spoilt


def test_a_table_is_bounded_and_its_columns_have_one_type() -> None:
    table = media.table([{"a": "x" * (1 if number else 20_000)} for number in range(media.ROWS_KEPT + 5)])
    assert len(table.rows) == media.ROWS_KEPT
    assert len(str(table.rows[0][0])) < media.LONGEST_CELL + 100
    mixed = media.table([{"a": 1}, {"a": "one"}, {"a": math.inf}, {"a": [1]}])
    assert [row[0] for row in mixed.rows] == ["1", "one", None, "[1]"]


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


def write_run(root: Path) -> RunLog:
    log = RunLog(root / "offline-run-20260101_000000-r", "r")
    log.begin("stage", RUN, 1.0)
    log.points([({"loss": 1.0 / (step + 1)}, step, 2.0 + step) for step in range(3)])
    log.table("table", "tables/some", media.table([{"a": 1}]), 5.0)
    log.flush()
    return log


def test_a_run_is_uploaded_whole_and_again_when_it_has_grown(
    tmp_path: Path, server: type[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    root = tmp_path / "wandb"
    log = write_run(root)
    upload(root)
    assert server.runs["r"]["groupName"] == "g"
    assert server.ended == {"r": 1}  # it has not said how it ended
    log.points([({"loss": 0.2}, 3, 9.0)])
    log.end(0)
    log.flush()
    upload(root)
    assert server.ended == {"r": 0}
    rows = [json.loads(row) for _, row in sorted(server.rows["r"].items())]
    assert [row["loss"] for row in rows if "loss" in row] == pytest.approx([1, 1 / 2, 1 / 3, 0.2])
    assert json.loads(server.runs["r"]["config"])["with"]["value"] == {"lr": 0.1}
    assert any("media/table/tables-some" in path for path in server.uploaded)
    server.ended.clear()
    upload(root)
    assert server.ended == {}  # there was nothing new
    assert [file for file in (tmp_path / "home").rglob("*") if file.is_file()] == []
    assert [file for file in root.rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()] == []
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
    write_run(tmp_path / "wandb")
    with pytest.raises(ConnectionError, match="WANDB_API_KEY"):
        upload(tmp_path / "wandb")


def test_the_watcher_needs_no_torch() -> None:
    script = (
        "import sys, workbench_tracker_wandb; light = set(sys.modules) & {'wandb', 'numpy'}\n"
        "import workbench_tracker_wandb.run_log; print(light, set(sys.modules) & {'torch', 'tensorflow'})"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    shown = subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True).stdout
    assert shown == "set() set()\n"
