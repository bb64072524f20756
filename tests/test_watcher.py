"""The watcher's process and its bookkeeping, with a tracker that writes lines to a file."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fake_dvc import Step, Workspace
from plugin_project import CORE, stranger
from workspace import PROJECT

from workbench import events
from workbench.lib.processes import process_start
from workbench.tracking import session, watcher
from workbench.tracking.feed import observed
from workbench.tracking.journal import Journal, read_events
from workbench.tracking.observer import Observer

STAGES = ["first", "second", "third"]
FIRST = Step("first", outputs={"out": "data/first"}, inputs=("data/raw",))
SECOND = Step("second", outputs={"out": "data/second"}, inputs=("data/first",))
THIRD = Step("third", outputs={"out": "data/third"}, inputs=("data/second",))


@pytest.fixture
def workspace(tmp_path: Path, checkout: Path) -> Workspace:
    plugins = tmp_path / "site"
    info = plugins / "lines-1.dist-info"
    info.mkdir(parents=True)
    (plugins / "lines_tracker.py").write_text(stranger("tracker_lines"))
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: lines\nVersion: 1\nRequires-Dist: {CORE}\n")
    (info / "entry_points.txt").write_text("[workbench]\nlines = lines_tracker\n")
    return Workspace.create(tmp_path / "w", STAGES, (checkout, plugins), ["lines"])


def lines(workspace: Workspace) -> list[str]:
    file = workspace.root / "lines.txt"
    return [line.strip() for line in file.read_text().splitlines()] if file.exists() else []


def sync(workspace: Workspace, environment: dict[str, str] | None = None) -> int:
    code = "import sys; from pathlib import Path; from workbench.tracking.watcher import sync; print(sync(Path(sys.argv[1])))"
    everything = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, workspace.pythonpath)), **(environment or {})}
    command = [sys.executable, "-c", code, str(workspace.root)]
    return int(subprocess.run(command, env=everything, capture_output=True, text=True, check=True, cwd=workspace.root).stdout)


def eventually(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def test_events_arrive_in_order_and_the_next_session_knows_what_stood(workspace: Workspace) -> None:
    assert workspace.repro(FIRST, SECOND, THIRD) == 0
    seen = [line for line in lines(workspace) if not line.startswith("metrics")]
    stages = [line for name in STAGES for line in (f"stage_started {name}", "artifact_committed", "stage_finished")]
    # Hashes come once dvc.lock has stood still for two looks, which may be while the next stage runs.
    assert [line for line in seen if line != "outputs_hashed"] == ["session_started", *stages, "session_finished  FINISHED"]
    hashed = [position for position, line in enumerate(seen) if line == "outputs_hashed"]
    finished = [position for position, line in enumerate(seen) if line == "stage_finished"]
    assert len(hashed) == len(finished)
    assert all(after > before for after, before in zip(hashed, finished, strict=True))

    (workspace.root / "lines.txt").unlink()
    assert workspace.repro(replace(SECOND, content="new")) == 0
    assert [line for line in lines(workspace) if "restored" in line] == ["stage_restored first unchanged"]  # third is stale


def test_nothing_is_recorded_of_a_session_that_did_nothing(workspace: Workspace) -> None:
    assert workspace.repro() == 0
    assert lines(workspace) == []
    assert watcher.pending(workspace.root) == []
    assert list((workspace.root / session.JOURNAL_FOLDER).glob("[!.]*")) == []


def test_a_result_from_the_run_cache_is_told_from_one_that_stood(workspace: Workspace) -> None:
    assert workspace.repro(FIRST, SECOND) == 0
    old = (workspace.root / "dvc.lock").read_text()
    assert workspace.repro(replace(FIRST, content="new"), SECOND) == 0
    (workspace.root / "lines.txt").unlink()
    script = (workspace.root / "dvc").read_text() + f"\nopen('dvc.lock', 'w').write({old!r})\n"
    (workspace.root / "stage.py").write_text(
        "from pathlib import Path\nfrom workbench.lib.layout import main_root\n"
        "from workbench.tracking.session import current_session\nfrom workbench.tracking.watcher import ensure_watcher\n"
        "ensure_watcher(main_root(Path.cwd()), current_session(Path.cwd()))\n"
    )
    (workspace.root / "dvc").write_text(script)
    assert workspace.repro() == 0
    assert lines(workspace) == [
        "session_started", "stage_restored first restored", "stage_restored second restored", "session_finished  FINISHED",
    ]  # fmt: skip


def test_a_stage_that_dies_is_recorded_and_what_follows_does_not_count_as_done(workspace: Workspace) -> None:
    assert workspace.repro(FIRST, SECOND, THIRD) == 0
    (workspace.root / "lines.txt").unlink()
    assert workspace.repro(replace(SECOND, ends="killed", seconds=0.7)) == 1
    seen = [line for line in lines(workspace) if not line.startswith("metrics")]
    assert seen[-3:] == ["stage_failed  KILLED", "stage_restored first unchanged", "session_finished  KILLED"]


def test_a_stage_that_does_not_begin_makes_the_session_failed(workspace: Workspace) -> None:
    assert workspace.repro(FIRST, SECOND) == 0
    (workspace.root / "lines.txt").unlink()
    assert workspace.repro(replace(FIRST, content="new"), replace(SECOND, ends="refused")) == 1
    assert lines(workspace)[-1] == "session_finished  FAILED"
    assert [line for line in lines(workspace) if "restored" in line] == []
    (workspace.root / "lines.txt").unlink()
    assert workspace.repro(replace(FIRST, ends="refused")) == 1
    assert lines(workspace) == ["session_started", "session_finished  FAILED"]
    (newest,) = [file for file in journals(workspace).glob("*/_closed.jsonl") if b"first: its" in file.read_bytes()]
    assert read_events(newest, 0)[0][-1].error == "first: its input is damaged"


def test_who_reads_a_folder_is_stale_once_a_part_of_it_is_new(workspace: Workspace) -> None:
    whole = replace(THIRD, inputs=("data",))
    assert workspace.repro(FIRST, SECOND, whole) == 0
    (workspace.root / "lines.txt").unlink()
    assert workspace.repro(replace(SECOND, content="new")) == 0
    assert [line for line in lines(workspace) if "restored" in line] == ["stage_restored first unchanged"]


def test_a_run_that_was_killed_ends_with_its_last_sign_of_life(tmp_path: Path) -> None:
    here = session.current_session(tmp_path)
    session.save(tmp_path, here)
    stage = subprocess.Popen(["sleep", "60"])
    journal = Journal.create(tmp_path, here.id, "run")
    long_ago = time.time() - 1_000
    journal.write(
        events.StageStarted(
            run="run", time=long_ago, session=here.id, stage="s", entry="s", kind="sft", plugin="trl", seed=0, pid=stage.pid,
            process_started=process_start(stage.pid), config={}, lock={}, inputs=[], fingerprint="", machine={}, command="",
            directory=str(tmp_path),
        )
    )  # fmt: skip
    observer = Observer(tmp_path, here)
    observer.look()
    journal.metrics({"loss": 1.0}, 0)
    journal.close()
    stage.kill()
    stage.wait()
    observer.look()
    (death,) = [event for event in read_events(observed(journal.path), 0)[0] if isinstance(event, events.StageFailed)]
    assert death.status == "KILLED"
    assert death.time > long_ago + 900


def test_what_a_session_keeps_is_no_pipeline_to_dvc(tmp_path: Path) -> None:
    """Where no .dvcignore hides it, too."""
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    session.save(tmp_path, session.current_session(tmp_path))
    assert [file.name for file in (tmp_path / ".workbench").rglob("dvc.yaml*")] == ["dvc.yaml.txt"]


def test_a_damaged_record_of_a_session_stops_nothing(workspace: Workspace) -> None:
    damaged = journals(workspace) / "1-2-3"
    damaged.mkdir(parents=True)
    (damaged / "session.json").touch()
    (journals(workspace) / ".pending").mkdir()
    (journals(workspace) / ".pending" / damaged.name).touch()
    assert workspace.repro(FIRST) == 0
    assert lines(workspace)[-1] == "session_finished  FINISHED"
    assert watcher.left_behind(workspace.root) == []
    assert sync(workspace) == 0


def test_a_tracker_that_has_no_name_for_a_run_keeps_no_stage_waiting(workspace: Workspace) -> None:
    tracker = workspace.pythonpath[1] / "lines_tracker.py"
    tracker.write_text(tracker.read_text().replace('return "line"', "return None"))
    assert workspace.repro(FIRST) == 0
    (folder,) = journals(workspace).glob("[!.]*")
    here = session.load(workspace.root, folder.name)
    assert watcher.wait_for_link(workspace.root, here, "r-first", 1.0) == "run r-first"
    said = watcher.wait_for_link(workspace.root, here, "r-other", 1.0)
    assert said.startswith("run r-other; tracker lines has not taken it yet")


def journals(workspace: Workspace) -> Path:
    return workspace.root / session.JOURNAL_FOLDER


def test_a_store_that_is_down_harms_no_stage_and_sync_makes_up_for_it(workspace: Workspace) -> None:
    (workspace.root / "down").touch()
    assert workspace.repro(FIRST) == 0
    assert workspace.repro(SECOND) == 0
    assert lines(workspace) == []
    assert len(watcher.pending(workspace.root)) == 2
    assert sync(workspace) == 0
    (workspace.root / "down").unlink()
    assert sync(workspace) == 2
    assert watcher.pending(workspace.root) == []
    seen = lines(workspace)
    assert [line for line in seen if line.startswith("stage_started")] == ["stage_started first", "stage_started second"]
    assert sync(workspace) == 0
    assert lines(workspace) == seen


def name_trackers(workspace: Workspace, *names: str) -> None:
    (workspace.root / "compute.yaml").write_text(f"trackers: {json.dumps(names)}\n")


def test_a_tracker_that_is_added_later_gets_what_ended_before(workspace: Workspace) -> None:
    name_trackers(workspace)
    assert workspace.repro(FIRST) == 0
    assert workspace.repro(SECOND) == 0
    assert watcher.pending(workspace.root) == []
    assert sync(workspace) == 0  # nobody wants to know
    name_trackers(workspace, "lines")
    assert sync(workspace) == 2
    seen = lines(workspace)
    assert [line for line in seen if line.startswith("stage_started")] == ["stage_started first", "stage_started second"]
    assert seen.count("session_finished  FINISHED") == 2
    assert watcher.pending(workspace.root) == []
    assert sync(workspace) == 0
    assert lines(workspace) == seen


def test_what_one_tracker_has_is_not_sent_to_it_again_for_the_sake_of_another(workspace: Workspace) -> None:
    assert workspace.repro(FIRST) == 0
    seen = lines(workspace)
    second = stranger("tracker_lines", ("lines.txt", "others.txt"), name="others")
    site = workspace.pythonpath[1]
    (site / "others_tracker.py").write_text(second)
    (site / "others-1.dist-info").mkdir()
    (site / "others-1.dist-info" / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: others\nVersion: 1\nRequires-Dist: {CORE}\n"
    )
    (site / "others-1.dist-info" / "entry_points.txt").write_text("[workbench]\nothers = others_tracker\n")
    name_trackers(workspace, "lines", "others")
    assert sync(workspace) == 1
    assert lines(workspace) == seen
    told = (workspace.root / "others.txt").read_text().splitlines()
    assert [line.strip() for line in told if not line.startswith("metrics")] == [
        line for line in seen if not line.startswith("metrics")
    ]


def test_a_session_that_has_ended_is_told_as_it_was_though_dvc_lock_has_moved_on(workspace: Workspace) -> None:
    name_trackers(workspace)
    assert workspace.repro(FIRST) == 0
    (folder,) = (workspace.root / session.JOURNAL_FOLDER).glob("[!.]*")
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert workspace.repro(replace(FIRST, content="new", run="r-again", fingerprint="f-again")) == 0
    name_trackers(workspace, "lines")
    assert sync(workspace) == 2
    changed = {file.name for file, content in before.items() if file.read_bytes() != content}
    assert changed <= {"watcher.log"}


def test_the_next_session_completes_what_a_killed_watcher_left(workspace: Workspace) -> None:
    (workspace.root / "down").touch()
    process = workspace.start(replace(FIRST, seconds=2.0))
    folder = workspace.root / session.JOURNAL_FOLDER
    eventually(lambda: list(folder.glob(f"{process.pid}-*/_opened.jsonl")))
    (name,) = [path.name for path in folder.glob(f"{process.pid}-*")]
    pids = subprocess.run(
        ["pgrep", "-f", f"workbench.tracking.watcher .*{name}"], capture_output=True, text=True, check=True
    ).stdout
    os.kill(int(pids), signal.SIGKILL)
    assert process.wait() == 0
    (workspace.root / "down").unlink()
    assert workspace.repro() == 0
    seen = [line for line in lines(workspace) if not line.startswith("metrics")]
    assert seen[0] == "session_started"
    assert seen[-1] == "session_finished  FINISHED"
    assert watcher.pending(workspace.root) == []


def test_an_event_that_breaks_a_tracker_is_passed_over_and_said(workspace: Workspace) -> None:
    assert workspace.repro(FIRST, environment={"BREAK": "artifact_committed"}) == 0
    assert "stage_finished" in " ".join(lines(workspace))
    assert watcher.pending(workspace.root) == []
    (log,) = (workspace.root / session.JOURNAL_FOLDER).glob("*/watcher.log")
    assert "passed over" in log.read_text()
    (warning,) = watcher.warnings(workspace.root, log.parent.name)
    assert "tracker lines lacks 1 events, the last ArtifactCommitted: ValueError: broken" in warning
    assert sync(workspace, {"BREAK": "artifact_committed"}) == 1
    assert watcher.incomplete(workspace.root) == [log.parent.name]
    assert sync(workspace) == 1
    assert lines(workspace).count("artifact_committed") == 1
    assert watcher.incomplete(workspace.root) == []
    assert sync(workspace) == 0


def test_a_tracker_whose_code_cannot_be_imported_misses_nothing(workspace: Workspace) -> None:
    """No event is at fault: it gets all of them once its code is whole."""
    module = workspace.pythonpath[-1] / "lines_tracker.py"
    whole = module.read_text()
    module.write_text(whole.replace("def take(self, name, event):\n", "def take(self, name, event):\n        import not_there\n"))
    assert workspace.repro(FIRST) == 0
    assert lines(workspace) == []
    assert watcher.incomplete(workspace.root) == []
    module.write_text(whole)
    assert sync(workspace) == 1
    assert lines(workspace)[0] == "session_started"
    assert lines(workspace)[-1] == "session_finished  FINISHED"


def test_what_a_session_ran_on_is_told_without_importing_it(tmp_path: Path) -> None:
    """That of ``dvc exp run --temp`` is deleted soon, and the watcher goes on."""
    code = (
        "import sys; from pathlib import Path; from workbench.records import provenance\n"
        "before = [*sys.path]; provenance.capture(Path(sys.argv[1]), Path(sys.argv[2]), {})\n"
        "assert sys.path == before; assert not [name for name in sys.modules if name.startswith('workbench_tracker')]"
    )
    temporary, kept = tmp_path / "exps" / "temporary", tmp_path / "kept"
    shutil.copytree(PROJECT / "plugins" / "tracker-mlflow", temporary / "plugins" / "tracker-mlflow")
    kept.mkdir()
    subprocess.run([sys.executable, "-c", code, str(temporary), str(kept)], cwd=PROJECT, check=True)
    assert {"environment.txt", "platform.json", "source-workspace.diff"} <= {file.name for file in kept.iterdir()}


def test_one_watcher_a_session_which_every_stage_asks_for_at_little_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = session.current_session(tmp_path)
    assert not here.by_dvc
    assert here.pid == os.getpid()
    started: list[list[str]] = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_: started.append(command))
    watcher.ensure_watcher(tmp_path, here)
    with (session.folder_of(tmp_path, here.id) / "watcher.lock").open("a") as file:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
        watcher.ensure_watcher(tmp_path, here)
        assert not watcher.wait_for_watcher(tmp_path, here.id, 0.1)
    assert len(started) == 1
    assert watcher.wait_for_watcher(tmp_path, here.id, 0.1)


def test_resources_of_a_stage_are_sampled(workspace: Workspace) -> None:
    assert workspace.repro(replace(FIRST, seconds=12)) == 0
    (file,) = (workspace.root / session.JOURNAL_FOLDER).glob("*/r-first.observed.jsonl")
    values = [event.values for event in read_events(file, 0)[0] if hasattr(event, "values")]
    assert values[0]["system/process_memory_megabytes"] > 5
    assert "system/process_cpu_percentage" in values[-1]


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["/venv/bin/python", "/venv/bin/dvc", "repro", "sft"], "dvc repro sft"),
        (["python3", "-m", "dvc", "exp", "run", "-S", "a=1"], "dvc exp run -S a=1"),
        (["dvc", "exp", "exec-run", "--infofile", "x"], "dvc exp exec-run --infofile x"),
        (["python", "/venv/bin/dvc", "status"], ""),
        (["bash", "-c", "dvc repro"], ""),
        (["vim", "dvc", "repro"], ""),
        (["python", "dvc", "exp", "show"], ""),
    ],
)
def test_only_dvc_that_runs_stages_makes_a_session(words: list[str], command: str) -> None:
    assert session._dvc_command(words) == command


def test_journal_lines_of_the_observer_are_json(workspace: Workspace) -> None:
    assert workspace.repro(FIRST) == 0
    for file in (workspace.root / session.JOURNAL_FOLDER).glob("*/*.jsonl"):
        assert all(json.loads(line)["type"] for line in file.read_text().splitlines())
