"""Plugins that raise, leave, hang, fork, write what they should not or where: FAILED, in words, and nothing committed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from faulty_pipeline import OUTPUTS, PLUGIN, Begun, begin, failure, records
from workspace import Done

from workbench.lib import processes

pytestmark = pytest.mark.fault(9)
slow = pytest.mark.slow


@pytest.fixture
def begun(tmp_path: Path) -> Begun:
    return begin(tmp_path)


def fails(begun: Begun, code: str, *said: str, trace: str = "") -> Done:
    """The stage fails with the fault, says so, records it, commits nothing, and recovers without the fault."""
    begun.fault(code)
    done = begun.made.dvc("repro", "dedup")
    assert done.code != 0, done.text
    event = failure(begun.made)
    assert event["status"] == "FAILED"
    for words in (*said, PLUGIN):
        assert words in done.err
        assert words in event["error"] or words in event["traceback"]
    assert trace in event["traceback"]
    for path in OUTPUTS:
        assert not (begun.made.root / path).exists(), "it was committed"
    assert "dedup" in begun.recovers().out
    return done


def test_raises(begun: Begun) -> None:
    fails(begun, "raise RuntimeError('at its wits end')", "RuntimeError: at its wits end", trace="fault.py")


def test_leaves_with_success_in_the_midst(begun: Begun) -> None:
    fails(begun, "import os; os._exit(0)", "its process exited in the middle of its work with exit code 0")


@slow
@pytest.mark.parametrize("code", ["0", "3", "None", "'a word'"])
def test_calls_sys_exit(begun: Begun, code: str) -> None:
    fails(begun, f"import sys; sys.exit({code})", f"called sys.exit({code}) in the middle", trace="fault.py")


@slow
def test_crashes_in_a_library(begun: Begun) -> None:
    fails(begun, "import ctypes; ctypes.string_at(0)", "its process crashed (SIGSEGV)", trace='File "fault.py", line 1')


@pytest.mark.slow
def test_hangs_longer_than_its_time_limit(begun: Begun) -> None:
    limit(begun, time_limit_minutes={"dedup": 12 / 60})
    code = "import threading, time\nthreading.Thread(target=time.sleep, args=(999,)).start()\nwhile True: time.sleep(9)"
    done = fails(begun, code, "longer than time_limit_minutes of compute.yaml allows", trace='File "fault.py", line 3')
    assert "Thread 0x" in failure(begun.made)["traceback"], "the other threads are missing"
    assert "raise or remove the limit" in done.err


@slow
def test_hangs_in_a_library_that_holds_the_interpreter(begun: Begun) -> None:
    limit(begun, stall_minutes=3 / 60)
    code = "import re; re.match('(a|aa)+$', 'a' * 99 + 'b')"
    done = fails(begun, code, "longer than stall_minutes of compute.yaml allows", trace='File "fault.py", line 1')
    assert "no sign of progress for" in done.err


@slow
def test_progress_is_no_stall(begun: Begun) -> None:
    limit(begun, stall_minutes=4 / 60)
    begun.fault("import time\nfor step in run.track(range(80), unit='steps'): time.sleep(0.1)")
    begun.made.repro("dedup")
    begun.recovers()


def limit(begun: Begun, **values: object) -> None:
    begun.made.edit("compute.yaml", lambda content: content.update(values))


@slow
def test_unknown_stage_of_a_time_limit(begun: Begun) -> None:
    limit(begun, time_limit_minutes={"dedupe": 1})
    done = begun.made.run("resolve")
    assert done.code == 1
    assert "unknown key 'dedupe'" in done.err
    assert "did you mean 'dedup'?" in done.err


LEFT = """import subprocess, sys, pathlib
child = subprocess.Popen([sys.executable, "-c", "import time, subprocess; subprocess.Popen(['sleep', '999']); time.sleep(999)"])
pathlib.Path("child.pid").write_text(str(child.pid))
"""
DAEMON = """import os, time, pathlib
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        pathlib.Path("child.pid").write_text(str(os.getpid()))
        time.sleep(999)
    os._exit(0)
os.wait()
while not pathlib.Path("child.pid").exists(): time.sleep(0.01)
"""


@pytest.mark.parametrize("code", [LEFT, pytest.param(DAEMON, marks=slow)], ids=["child", "daemon"])
@pytest.mark.slow
def test_leaves_children_behind(begun: Begun, code: str) -> None:
    """They are ended, they hold nothing up, and the stage is right."""
    begun.fault(code)
    done = begun.made.repro("dedup")
    pid = (begun.made.root / "child.pid").read_text()
    assert f"ended what the stage had left running: {pid}" in done.err
    assert not processes.is_running(int(pid))
    begun.recovers()


@slow
def test_leaves_a_thread_behind(begun: Begun) -> None:
    begun.fault("import threading, time; threading.Thread(target=time.sleep, args=(999,)).start()")
    begun.made.repro("dedup")
    begun.recovers()


WRITER = """import os, time
if os.fork() == 0:
    with open(outputs["train"] / "part-00009.parquet", "wb") as file:
        while True:
            file.write(b"later"); file.flush(); time.sleep(0.1)
while not (outputs["train"] / "part-00009.parquet").exists(): time.sleep(0.01)
"""


@slow
def test_child_that_writes_later(begun: Begun) -> None:
    fails(begun, WRITER, "which it has left running, still has part-00009.parquet of its output open for writing")


@slow
def test_file_that_is_not_closed(begun: Begun) -> None:
    code = "import builtins; builtins.kept = open(outputs['train'] / 'more.txt', 'w'); builtins.kept.write('x')"
    fails(begun, code, "its own process still has more.txt of its output open for writing")


@slow
def test_wrong_schema(begun: Begun) -> None:
    code = (
        "from workbench.artifacts import table; import shutil; shutil.rmtree(outputs['train'])\n"
        "table.write_rows(outputs['train'], [{'id': 'a', 'txt': 'b'}], {'id': 'string', 'txt': 'string'})"
    )
    fails(begun, code, "column 'text' is missing; found id, txt")


@slow
def test_zero_rows(begun: Begun) -> None:
    code = (
        "from workbench.artifacts import corpus, table; import shutil; shutil.rmtree(outputs['train'])\n"
        "table.write_rows(outputs['train'], [], corpus.schema(['origin']))"
    )
    fails(begun, code, "data/split/train")


@slow
def test_output_is_missing(begun: Begun) -> None:
    fails(begun, "import shutil; shutil.rmtree(outputs['heldout'])", "it wrote no heldout")


@slow
def test_result_that_is_not_a_number(begun: Begun) -> None:
    fails(begun, "run.metric('kept_share', float('nan'))", "Out of range float values are not JSON compliant")


@pytest.mark.slow
def test_writes_into_its_input(begun: Begun) -> None:
    code = "file = next(inputs['corpus'].glob('*.parquet')); file.write_bytes(file.read_bytes() + b' ')"
    fails(begun, code, "this input has changed while the stage ran", "data/curated/corpus")


@slow
def test_writes_into_the_output_of_another_stage(begun: Begun) -> None:
    code = "from pathlib import Path; (Path('data/evals/first') / 'metrics.json').write_text('{}')"
    fails(begun, code, "this output of another stage has changed while the stage ran", "data/evals/first")


@slow
def test_another_stage_may_write_meanwhile(begun: Begun) -> None:
    begun.fault(
        "import os, subprocess, sys\nvariables = {**os.environ, 'DVC_STAGE': 'eval@first'}\n"
        "subprocess.run([sys.executable, '-m', 'workbench', 'run', 'eval.first', '--model', 'raw/model', '--heldout', "
        "'data/curated/corpus', '--out', 'data/evals/first'], env=variables)"
    )
    begun.made.repro("dedup")
    begun.recovers()


@slow
def test_its_entry_changes_while_it_runs(begun: Begun) -> None:
    """As when someone switches the branch and resolves: DVC would record the new entry as what ran."""
    code = """import json; from pathlib import Path
file = Path("plugins-lock.json"); content = json.loads(file.read_text())
content["stages"]["dedup"]["config"]["words"] = 1; file.write_text(json.dumps(content))"""
    fails(begun, code, "its entry in plugins-lock.json changed while it ran")


@slow
def test_failed_run_is_not_continued(begun: Begun) -> None:
    fails(begun, "import os; os._exit(0)")
    runs = [event["run"] for event in records(begun.made, "StageStarted") if event["stage"] == "dedup"]
    assert len(runs) == len(set(runs)) == 3, json.dumps(runs)
