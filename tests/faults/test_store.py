"""The MLflow store fails in every way it can: no stage waits for it, the loss is said, and `workbench sync` makes up for it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import mlflow_server
import pytest
import slow_proxy
from faulty_pipeline import Begun, await_file, begin, records, start
from mlflow_server import Point, Server, Stored
from workspace import Done, Workspace

from workbench.testing.project import SECONDS

pytestmark = pytest.mark.fault(7)
slow = pytest.mark.slow
STEPS = 800
CODE = f"""
import time
from pathlib import Path

def wait_for(condition):
    deadline = time.monotonic() + 240
    while not condition() and time.monotonic() < deadline:
        run.progress(1, 2, "steps")
        time.sleep(0.05)

def log(steps):
    for step in steps:
        run.log({{"probe": 1 / (step + 1)}}, step)

log(range({STEPS // 2}))
Path("held").touch()
wait_for(Path("go").exists)
log(range({STEPS // 2}, {STEPS}))
if Path("notice").exists():
    wait_for(lambda: "mlflow" in "".join(file.read_text() for file in Path(".workbench/journal").glob("*/trouble.json")))
"""
"""Logs numbers, before and after the fault, and ends when the watcher has noticed the fault, if that is asked for."""
WARNING = "warning: tracker mlflow does not accept the record"
FIX = "run `workbench sync`"
QUICK = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "3", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""Settings of MLflow's client, so that a test need not wait for minutes until it gives up."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on a small file system of its own, if one can be mounted here."""
    yield from _small(tmp_path_factory.mktemp("store") / "store")


@pytest.fixture
def sealable(tmp_path: Path) -> Iterator[Path]:
    """One more, in which nothing holds a file open: this process keeps the databases that it has read."""
    yield from _small(tmp_path / "sealable")


def _small(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True, check=False)
    yield folder
    if not mounted.returncode:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[Server]:
    made = Server(store / "server", log=store.with_name("server.log"))
    yield made
    made.kill()


@pytest.fixture
def begun(tmp_path: Path) -> Begun:
    return begin(tmp_path)


def tracked(begun: Begun, uri: str) -> Begun:
    """The same with MLflow for its tracker, at this address, in an experiment of its own."""
    made = begun.made
    made.edit("compute.yaml", lambda content: content.update(trackers=["mlflow"]))
    settings = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_NAME": str(made.root)}
    begun.fault(CODE)
    return replace(begun, made=Workspace(made.root, {**made.variables, **settings}))


def repro(begun: Begun, fault: Callable[[], object], *, works: bool = True, noticed: bool = True) -> Done:
    """``dvc repro``, in the midst of whose work something happens to the store; the stage ends well while it lasts.

    Args:
        begun: the pipeline.
        fault: what happens, once the store has taken some of the stage's record, if it ``works`` until then.
        works: whether it does.
        noticed: whether the stage goes on until the watcher has noticed.
    """
    if noticed:
        (begun.made.root / "notice").touch()
    process = start(begun.made, "repro", **QUICK)
    try:
        await_file(begun.made.root / "held")
        if works:
            await_record(begun)
        fault()
        (begun.made.root / "go").touch()
        out, err = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert process.returncode == 0, err
    return Done(process.returncode, out, err)


def await_record(begun: Begun) -> None:
    """Wait until the tracker has got the beginning of the journal of dedup."""
    journals = begun.made.root / ".workbench" / "journal"
    run = records(begun.made, "StageStarted")[-1]["run"]
    deadline = time.monotonic() + SECONDS
    while f"{run}.jsonl" not in "".join(file.read_text() for file in journals.glob("*/state.json")):
        assert time.monotonic() < deadline, "the tracker gets nothing"
        time.sleep(0.05)


def is_loud(done: Done) -> None:
    assert WARNING in done.err
    assert "where: compute.yaml, key trackers" in done.err
    assert FIX in done.err


def is_whole(begun: Begun, uri: str) -> list[Stored]:
    """Everything that the journals hold is in the store, once, and bringing it again changes nothing."""
    begun.made.wait()
    synced = begun.made.run("sync")
    assert synced.code == 0, synced.text
    found = stored(begun, uri)
    runs = {run.tags["workbench.run"]: run for run in found if "workbench.run" in run.tags}
    names = [run.tags.get("workbench.run", run.tags["workbench.session"]) for run in found]
    assert len(names) == len({*names}), "a run is there twice"
    assert {run.status for run in found} == {"FINISHED"}
    assert runs.keys() == {event["run"] for event in records(begun.made, "StageStarted")}
    journals = [file.parent.name for file in begun.made.root.glob(".workbench/journal/*/_opened.jsonl")]
    assert sorted(run.tags["workbench.session"] for run in found if run.tags["workbench.role"] == "session") == sorted(journals)
    for name, run in runs.items():
        assert dict.fromkeys(points(begun, name), 1).items() <= run.points.items()
        assert all(times == 1 for times in run.points.values())
    (dedup,) = (run for run in runs.values() if sum(name == "probe" for name, _, _ in run.points) == STEPS)
    assert dedup.tags["workbench.stage"] == "dedup"
    again = begun.made.run("sync")
    assert again.out == "brought 0 sessions to the trackers\n"
    assert stored(begun, uri) == found
    begun.recovers()
    return found


def points(begun: Begun, run: str) -> Counter[Point]:
    """The points with a step in a run's journals, the watcher's included."""
    events = [event for event in records(begun.made, "MetricsLogged") if event["run"] == run and event["step"] is not None]
    return Counter((name, event["step"], value) for event in events for name, value in event["values"].items())


def stored(begun: Begun, uri: str) -> list[Stored]:
    return mlflow_server.read(uri, begun.made.variables["MLFLOW_EXPERIMENT_NAME"])


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    if not folder.is_mount():
        pytest.skip("a small file system can't be mounted here")
    filler = folder / "filler"
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
        filler.unlink(missing_ok=True)


def fill(folder: Path) -> None:
    """Leave no byte of a file system."""
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        while file.write(bytes(1 << 12)):
            pass
    assert shutil.disk_usage(folder).free == 0


def test_server_that_is_dead(begun: Begun, tmp_path: Path, server: Server) -> None:
    """And stays so: the journals go to another store."""
    begun = tracked(begun, server.uri)
    repro(begun, lambda: None, works=False)  # it may be over before a tracker could be tried
    begun.made.wait()
    is_loud(begun.made.run("resolve"))
    failed = begun.made.run("sync")
    assert failed.code == 1
    assert FIX in failed.err
    elsewhere = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    is_whole(tracked(begun, elsewhere), elsewhere)


@slow
def test_server_that_is_dead_and_comes_back(begun: Begun, server: Server) -> None:
    server.kill()
    begun = tracked(begun, server.uri)
    repro(begun, lambda: None, works=False)
    begun.made.wait()
    resolved = begun.made.run("resolve")
    assert f"earlier sessions: {WARNING}" in resolved.err
    server.start()
    is_whole(begun, server.uri)


@slow
def test_server_that_is_killed(begun: Begun, server: Server) -> None:
    server.start()
    begun = tracked(begun, server.uri)
    is_loud(repro(begun, server.kill))
    server.start()
    is_whole(begun, server.uri)


@slow
def test_server_that_hangs(begun: Begun, server: Server) -> None:
    """Its kernel takes connections; nobody answers, until it does and carries out all that it was asked for."""
    server.start()
    begun = tracked(begun, server.uri)
    try:
        is_loud(repro(begun, server.freeze))
    finally:
        server.thaw()
    is_whole(begun, server.uri)


@slow
def test_server_that_is_slow(begun: Begun, server: Server) -> None:
    """So slow that MLflow's client asks again for what the server has done already."""
    server.start()
    with slow_proxy.slow(server.port, 0.1, b"runs/create", b"runs/log-batch", b"runs/update") as proxy:
        begun = tracked(begun, proxy.uri)
        repro(begun, lambda: None, noticed=False)
        is_whole(begun, server.uri)
        assert sorted(proxy.lost) == [b"runs/create", b"runs/log-batch", b"runs/update"]


@slow
def test_server_whose_disk_is_full(begun: Begun, store: Path, server: Server) -> None:
    server.start()
    begun = tracked(begun, server.uri)
    with mounted(store):
        is_loud(repro(begun, lambda: fill(store)))
    is_whole(begun, server.uri)


@slow
def test_server_that_can_only_read(begun: Begun, store: Path, server: Server) -> None:
    server.start()
    begun = tracked(begun, server.uri)

    def seal() -> None:
        server.kill()
        subprocess.run(["mount", "-o", "remount,ro", store], check=True)
        server.start()

    with mounted(store):
        is_loud(repro(begun, seal))
        begun.made.wait()
        server.kill()
    server.start()
    is_whole(begun, server.uri)


@slow
def test_database_whose_disk_is_full(begun: Begun, store: Path) -> None:
    """No server at all, which is the default."""
    uri = f"sqlite:///{store / 'full.db'}"
    begun = tracked(begun, uri)
    with mounted(store):
        is_loud(repro(begun, lambda: fill(store)))
        begun.made.wait()
    is_whole(begun, uri)


@slow
def test_database_that_can_only_be_read(begun: Begun, sealable: Path) -> None:
    uri = f"sqlite:///{sealable / 'sealed.db'}"
    begun = tracked(begun, uri)
    makes = "import sys; from mlflow.tracking import MlflowClient; MlflowClient(sys.argv[1]).search_experiments()"
    subprocess.run([sys.executable, "-c", makes, uri], check=True)  # and holds it open no longer
    with mounted(sealable):
        subprocess.run(["mount", "-o", "remount,ro", sealable], check=True)
        is_loud(repro(begun, lambda: None, works=False))
        begun.made.wait()
    is_whole(begun, uri)
