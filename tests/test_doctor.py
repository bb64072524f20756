"""The doctor on workspaces that are really ill: dead processes, damaged files, wrong settings."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import light_pipeline
import plugin_project
import pytest
import yaml
import zombies
from workbench_tracker_mlflow import MlflowTracker
from workspace import Workspace

from workbench.commands.doctor import checkup, machine, packages, project
from workbench.commands.doctor.check import Check
from workbench.execution import abandoned, output_locks
from workbench.lib import processes
from workbench.tracking import session
from workbench.verification import lock_owners

STAGES = {"stages": {"wait": {"cmd": "touch held; while [ -e held ]; do sleep 0.05; done; echo done > out", "outs": ["out"]}}}
HEAVY = ("torch", "mlflow", "transformers", "trl", "pyarrow", "numpy")
WAIT = 60


@pytest.fixture
def made(tmp_path: Path) -> Workspace:
    return light_pipeline.create(tmp_path)


@pytest.fixture
def bare(tmp_path: Path, made: Workspace) -> Workspace:
    """A DVC workspace with one stage, which runs until the file ``held`` is removed."""
    (made.root / "dvc.yaml").write_text(yaml.safe_dump(STAGES))
    return made


def worst(checks: Iterator[Check]) -> Check:
    return max(checks, key=lambda check: ("ok", "warn", "fail").index(check.status))


def wait_for(path: Path) -> None:
    wait_until(path.exists)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


@contextmanager
def process(*words: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has said its first line, and is killed in the end."""
    with subprocess.Popen(words, cwd=cwd, stdout=subprocess.PIPE, text=True, start_new_session=True) as started:
        try:
            assert started.stdout is not None
            started.stdout.readline()
            yield started
        finally:
            started.kill()


def dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    assert not processes.is_running(ended.pid)
    return ended.pid


def write_rwlock(root: Path, pid: int) -> Path:
    file = root / lock_owners.FOLDER / lock_owners.RWLOCK_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"write": {str(root / "out"): {"pid": pid, "cmd": "dvc repro wait"}}, "read": {}}))
    return file


def test_the_command_names_what_fails_and_imports_nothing_heavy(made: Workspace, tmp_path: Path) -> None:
    done = made.run("doctor")
    assert done.code == 0, done.text
    assert "fail" not in done.out
    plugin_project.install(tmp_path / "site", "filter-broken", "import nowhere_to_be_found")
    wants = plugin_project.stranger("short", name="wants")
    plugin_project.install(tmp_path / "site", "filter-wants", wants, requires=("pluggy>=99", "nowhere"))
    write_rwlock(made.root, os.getpid())  # which is alive, and no DVC
    words = "import sys; from workbench.commands.cli import app; sys.argv = ['workbench', 'doctor', '--json']"
    words += "; app(standalone_mode=False)"
    done = made.call(sys.executable, "-c", f"{words}; print(*sorted(sys.modules), file=sys.stderr)")
    assert not set(HEAVY) & set(done.err.split())
    checks = {}
    for record in json.loads(done.out):
        checks.setdefault(record["name"], record)
    assert len(checks) == 20
    assert {name for name, record in checks.items() if record["status"] == "fail"} == {"dvc locks", "requirements"}
    assert str(os.getpid()) in checks["dvc locks"]["what"]
    assert "rm " in checks["dvc locks"]["fix"]
    assert "filter-wants needs pluggy>=99, and there is" in checks["requirements"]["what"]
    assert "'nowhere'" in checks["requirements"]["fix"]
    assert checks["plugins"]["what"].startswith("filter-broken 1.0 is broken: ModuleNotFoundError")
    # The tests' environment points to the project, not to its copy.
    assert "point to another workspace: pionero-workbench" in checks["installs"]["what"]
    done = made.run("doctor")
    assert done.code == 1
    assert f"fail  dvc locks      process {os.getpid()}" in done.out


def test_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Workspace.at(tmp_path)
    for name, value in here.variables.items():
        monkeypatch.setenv(name, value)
    assert "not a git repository" in worst(project.git(tmp_path)).what
    here.git("init", "--quiet", "--initial-branch=main")
    assert "nothing is committed" in worst(project.git(tmp_path)).what
    (tmp_path / "file").write_text("one")
    here.git("add", "--all")
    here.git("commit", "--quiet", "--message=one")
    assert "all committed" in worst(project.git(tmp_path)).what
    (tmp_path / "file").write_text("two")
    assert "1 files not committed" in worst(project.git(tmp_path)).what
    here.git("checkout", "--quiet", "-b", "other")
    here.git("commit", "--quiet", "--all", "--message=two")
    here.git("checkout", "--quiet", "main")
    (tmp_path / "file").write_text("three")
    here.git("commit", "--quiet", "--all", "--message=three")
    assert here.call("git", "merge", "other").code
    assert worst(project.git(tmp_path)) == Check(
        "git", "warn", "a merge is unfinished", "finish or abort it; `git status` says how"
    )
    (tmp_path / ".git" / "index.lock").touch()
    assert worst(project.git(tmp_path)).status == "fail"
    monkeypatch.setenv("PATH", "")
    assert "git is not installed" in worst(project.git(tmp_path)).what


def test_dvc_at_work_and_then_killed(bare: Workspace) -> None:
    running = bare.start("dvc", "repro")
    try:
        wait_for(bare.root / "held")
        check = worst(project.locks(bare.root))
        assert check.status == "ok"
        assert check.what.startswith(f"process {running.pid} (")
        assert check.what.endswith("dvc repro) is at work")
        done = bare.run("verify")
        assert done.code == 1
        assert f"process {running.pid} " in done.err
        assert "is writing" in done.err
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
    check = worst(project.locks(bare.root))
    assert check.status == "warn"
    assert f"process {running.pid} " in check.what
    (bare.root / "held").unlink()
    again = bare.start("dvc", "repro")
    wait_for(bare.root / "held")
    (bare.root / "held").unlink()
    assert again.wait() == 0
    assert worst(project.locks(bare.root)).what == "nobody holds one"


def test_dead_and_reused_numbers_in_dvcs_lock(bare: Workspace) -> None:
    pid = dead_pid()
    file = write_rwlock(bare.root, pid)
    check = worst(project.locks(bare.root))
    assert check.status == "warn"
    assert f"process {pid}" in check.what
    with process(sys.executable, "-c", "print(); input()", cwd=bare.root) as stranger:
        write_rwlock(bare.root, stranger.pid)
        check = worst(project.locks(bare.root))
        assert check.status == "fail"
        assert f"rm {file}" in check.fix
        blocked = bare.dvc("repro")
        assert blocked.code != 0, "it would wait for the stranger"
        assert "busy" in blocked.err
    with zombies.one() as pid:
        write_rwlock(bare.root, pid)
        check = worst(project.locks(bare.root))
        assert check.status == "fail"
        assert f"process {pid} took a lock" in check.what
        assert "zombie" in check.what
        assert lock_owners.writers(bare.root / lock_owners.FOLDER) == []
    file.write_text('{"write": ')
    assert next(check for check in checkup._guarded("dvc locks", project.locks, bare.root)).status == "fail"
    assert bare.dvc("repro").code != 0


def test_a_hard_link_lock_of_a_killed_dvc(bare: Workspace) -> None:
    assert bare.dvc("config", "core.hardlink_lock", "true").code == 0
    words = "from dvc.repo import Repo\nlock = Repo('.').lock\nlock.lock()\nprint(flush=True)\ninput()"
    with process(sys.executable, "-c", words, cwd=bare.root):
        pass
    check = worst(project.locks(bare.root))
    assert check.status == "fail"
    Path(check.fix.split("`rm ")[1].rstrip("`")).unlink()
    assert worst(project.locks(bare.root)).status == "ok"
    assert bare.dvc("status").code == 0


def test_stage_locks(bare: Workspace) -> None:
    file = bare.root / ".workbench" / "locks" / "dedup.lock"
    file.parent.mkdir(parents=True)
    file.write_text(str(dead_pid()))
    assert worst(project.stage_locks(bare.root)).what == "no stage runs"
    hold = (
        "import fcntl, os, subprocess, sys\n"
        "file = open(sys.argv[1], 'a+')\n"
        "fcntl.flock(file, fcntl.LOCK_EX)\n"
        "file.truncate(0); file.write(str(os.getpid())); file.flush()\n"
        "child = subprocess.Popen(['sleep', '600'], pass_fds=[file.fileno()], stdout=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
        "input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as stage:
        assert stage.stdout is not None
        child = int(stage.stdout.readline())
        assert worst(project.stage_locks(bare.root)).what == f"running: dedup (process {stage.pid})"
        stage.kill()
    check = worst(project.stage_locks(bare.root))
    assert check.status == "fail"
    assert check.fix == f"kill {child}"
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: not processes.is_running(child))  # it is an orphan, which PID 1 need not take in
    assert worst(project.stage_locks(bare.root)).what == "no stage runs"


def test_sessions_that_no_tracker_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert worst(project.journal(tmp_path)).status == "ok"
    ended = replace(session.current_session(tmp_path), id="ended", pid=dead_pid())
    for record in (ended, replace(session.current_session(tmp_path), id="running")):
        session.save(tmp_path, record)
        marker = tmp_path / session.JOURNAL_FOLDER / ".pending" / record.id
        marker.parent.mkdir(exist_ok=True)
        marker.touch()
    assert worst(project.journal(tmp_path)) == Check(
        "journal", "warn", "1 sessions are not in the trackers yet; their journals are whole", "workbench sync"
    )
    (session.folder_of(tmp_path, "ended") / "session.json").write_text("{")
    check = worst(project.journal(tmp_path))
    assert check.status == "fail"
    assert "session ended is damaged" in check.what


def test_an_mlflow_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # MLflow sets it, and this takes it back
    tracker = MlflowTracker(MlflowTracker.Config())
    assert "the first run makes it" in tracker.check_store(tmp_path)
    tracker.open(tmp_path)
    assert tracker.check_store(tmp_path).endswith("mlflow.db, 0 runs")
    file = tmp_path / ".workbench" / "mlflow.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConnectionError, match="locked"):
            tracker.check_store(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[:4096] + bytes(len(whole) - 4096))
    with pytest.raises(ConnectionError, match=r"malformed|no store|damaged"):
        tracker.check_store(tmp_path)
    file.write_bytes(b"no database" * 100)
    with pytest.raises(ConnectionError, match="not a database"):
        tracker.check_store(tmp_path)


def test_an_mlflow_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = MlflowTracker(MlflowTracker.Config())
    statuses = [200, 401, 503]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(statuses.pop(0) if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        assert tracker.check_store(tmp_path).endswith("answers")
        assert tracker.check_store(tmp_path).endswith("status 401")
        with pytest.raises(ConnectionError, match="503"):
            tracker.check_store(tmp_path)
        server.shutdown()
    with pytest.raises(ConnectionError, match="does not answer"):
        tracker.check_store(tmp_path)


def test_a_store_that_fails_fails(made: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made.root)
    made.edit("compute.yaml", lambda content: content.update(trackers=["mlflow"]))
    assert worst(project.stores(made.root)).status == "ok"
    file = made.root / ".workbench" / "mlflow.db"
    file.parent.mkdir(exist_ok=True)
    file.write_text("no database")
    check = worst(project.stores(made.root))
    assert check.status == "fail"
    assert "mlflow: " in check.what


def test_environments_and_quarantine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert worst(project.environments(tmp_path)).status == worst(project.quarantine(tmp_path)).status == "ok"
    for folder in (".workbench/environments/0123456789abcdef", ".workbench/quarantine/now"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file").write_bytes(bytes(2_000_000))
    assert ".workbench/environments/0123456789abcdef" in worst(project.environments(tmp_path)).fix
    assert worst(project.quarantine(tmp_path)).what.startswith("2.0 MB")


def test_checkpoints_of_abandoned_runs_are_listed_and_removed_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert worst(project.checkpoints(tmp_path)).status == "ok"
    folders = {name: tmp_path / ".workbench" / "checkpoints" / name for name in ("old", "new", "used")}
    long_ago = time.time() - (abandoned.KEPT_DAYS + 1) * 86_400
    for name, folder in folders.items():
        (folder / "checkpoint-10").mkdir(parents=True)
        (folder / "checkpoint-10" / "model.safetensors").write_bytes(bytes(2_000_000))
        for path in [*folder.rglob("*"), folder] if name != "new" else ():
            os.utime(path, (long_ago, long_ago))
    with output_locks.only_maker(tmp_path, "used", print):
        check = worst(project.checkpoints(tmp_path))
        assert check.what == f"2 killed runs have left 4 MB, the oldest {abandoned.KEPT_DAYS + 1} days ago"
        assert str(folders["new"]) in check.fix
        assert str(folders["used"]) not in check.fix
        assert [item.folder for item in abandoned.remove_old(tmp_path)] == [folders["old"]]
    assert [name for name, folder in folders.items() if folder.exists()] == ["new", "used"]
    assert list((tmp_path / ".workbench" / "locks").iterdir()) == []


def test_an_interpreter_that_can_be_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert worst(packages.python()).status == "ok"
    for prefix in ("prefix", "base_prefix"):
        monkeypatch.setattr(sys, prefix, str(tmp_path))
    assert "`make setup`" in worst(packages.python()).fix
    (tmp_path / "conda-meta").mkdir()
    assert worst(packages.python()).status == "ok"


def test_versions_against_the_constraints(tmp_path: Path) -> None:
    assert worst(packages.pins(tmp_path)).status == "ok"
    file = tmp_path / packages.CONSTRAINTS_FILE
    version = packages.metadata.version("pluggy")
    file.write_text(f"# pins\npluggy=={version}\nnot-installed==1\n")
    assert worst(packages.pins(tmp_path)).what == "the 1 that are installed of constraints.txt have its versions"
    file.write_text("pluggy==0.1\nnot-installed==1\n")
    assert (
        f"1 of 1 packages have another version than constraints.txt: pluggy {version} (not 0.1)"
        in worst(packages.pins(tmp_path)).what
    )


@pytest.mark.parametrize(
    ("name", "lines", "status", "said"),
    [
        ("evil.pth", ["import os; os.getcwd()"], "warn", "runs code"),
        ("distutils-precedence.pth", ["import os"], "ok", ""),
        ("elsewhere.pth", ["{elsewhere}"], "warn", "brings workbench from outside"),
        ("here.pth", ["{root}"], "ok", ""),
        ("notes.pth", ["# import nothing", ""], "ok", ""),
    ],
)
def test_path_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, lines: Sequence[str], status: str, said: str
) -> None:
    places = {"root": tmp_path / "root", "elsewhere": tmp_path / "elsewhere"}
    for place in places.values():
        (place / "workbench").mkdir(parents=True)
        (place / "workbench" / "__init__.py").touch()
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / name).write_text("\n".join(lines).format(**places))
    monkeypatch.setattr(packages.site, "getsitepackages", lambda: [str(folder)])
    monkeypatch.setattr(packages.site, "ENABLE_USER_SITE", False)
    check = worst(packages.path_files(places["root"]))
    assert check.status == status
    assert said in check.what


def test_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine, "LITTLE", 0.0)
    assert worst(machine.disk(tmp_path)).status == "ok"
    (tmp_path / ".dvc" / "config").write_text("[cache]\n    dir = ../elsewhere\n")
    assert machine.cache_folder(tmp_path) == tmp_path / "elsewhere"
    monkeypatch.setattr(machine, "LITTLE", 1e18)
    assert worst(machine.disk(tmp_path)).status == "warn"
    monkeypatch.setattr(machine, "TOO_LITTLE", 1e18)
    check = worst(machine.disk(tmp_path))
    assert check.status == "fail"
    assert "dvc gc -w" in check.fix
    (tmp_path / ".dvc" / "config").write_text("[nonsense]\n    dir = 3\n")
    assert next(iter(checkup._guarded("disk", machine.disk, tmp_path))).status == "fail"


def test_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in machine.compute.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert worst(machine.threads(tmp_path)).status == "ok"
    (tmp_path / "compute.yaml").write_text("threads: 4096\n")
    assert "asks for 4096 threads" in worst(machine.threads(tmp_path)).what
    (tmp_path / "compute.yaml").write_text("threads: 1\n")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert "OMP_NUM_THREADS=7 does not count" in worst(machine.threads(tmp_path)).what
    (tmp_path / "compute.yaml").write_text("threads: many\n")
    assert next(iter(checkup._guarded("threads", machine.threads, tmp_path))).status == "fail"


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    assert worst(machine.gpu(tmp_path)).status == "ok"
    (tmp_path / "compute.yaml").write_text("device: cuda\n")
    assert "there is no NVIDIA driver" in worst(machine.gpu(tmp_path)).what
    assert worst(machine.gpu(tmp_path)).status == "fail"


def test_a_browser_is_never_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    (check,) = machine.browser()
    assert check.status == "ok"
