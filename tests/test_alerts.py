"""What a stage raises while it runs: a line on the console, an event in the journal, a tag in MLflow."""

from __future__ import annotations

import time
from pathlib import Path

import mlflow
import pytest
from faulty_pipeline import Begun, begin, records

from workbench.planning import forecast
from workbench.planning.forecast import Forecast
from workbench.project import plugin_lock

WARNED = "for _ in range(2): run.warn('nothing is learnt')\n"
NAN = "for step in range(3): run.log({'loss': float('nan') if step else 1.0, 'rate': 0.5}, step)\n"
SLOW = "import time\nfor step in run.track(range(70), unit='steps', total=70): time.sleep(0.1)\n"
LATE = """import time
for step in run.track(range(20000), unit='steps', total=20000):
    time.sleep(0.1)
    if step == 60: break
"""
STILL = """import time, pathlib
while not any("AlertRaised" in file.read_text() for file in pathlib.Path(".workbench/journal").glob("*/*.jsonl")):
    time.sleep(0.1)
"""


def foretell(begun: Begun, seconds: float) -> None:
    """Let the newest plan say so of the stage that is to run."""
    begun.made.run("resolve")
    record = plugin_lock.read_entry(begun.made.root, "dedup").record
    forecast.write(begun.made.root, {"dedup": (record, Forecast(1, "documents", 0, 0, 0, seconds, 1))})


def alerts(begun: Begun) -> list[tuple[str, str]]:
    return [(event["name"], event["message"]) for event in records(begun.made, "AlertRaised")]


def test_numbers_that_are_not_finite_and_a_stage_that_is_late_are_tags(tmp_path: Path) -> None:
    begun = begin(tmp_path, trackers=("mlflow",))
    foretell(begun, 0.01)
    begun.fault(NAN + WARNED + LATE)
    done = begun.made.repro("dedup")
    assert done.err.count("alert: not-finite: loss is nan at step 1") == 1
    assert done.err.count("alert: late: it will take ") == 1
    assert done.err.count("alert: warning: nothing is learnt") == 1
    assert [name for name, _ in alerts(begun)] == ["not-finite", "warning", "late"]
    begun.made.wait()
    client = mlflow.MlflowClient(f"sqlite:///{begun.made.root / '.workbench/mlflow.db'}")
    experiment = client.get_experiment_by_name("workbench-default").experiment_id
    (run,) = client.search_runs([experiment], "tags.`alert.late` LIKE '%predicted%'")
    assert run.data.tags["alert.not-finite"] == "loss is nan at step 1"
    assert run.data.tags["alert.warning"] == "nothing is learnt"
    assert "**Alert, late**: it will take" in run.data.tags["mlflow.note.content"]


@pytest.mark.slow
def test_a_stage_that_keeps_to_its_plan_raises_nothing(tmp_path: Path) -> None:
    begun = begin(tmp_path)
    foretell(begun, 7.5)
    begun.fault(SLOW)
    begun.made.repro("dedup")
    assert alerts(begun) == []


@pytest.mark.slow
def test_a_stall_is_said_while_it_lasts(tmp_path: Path) -> None:
    begun = begin(tmp_path)
    begun.made.edit("compute.yaml", lambda content: content.update(stall_minutes=12 / 60))
    begun.fault(STILL)
    started = time.time()
    done = begun.made.repro("dedup")
    assert "alert: stall: no sign of progress for " in done.err
    (event,) = records(begun.made, "AlertRaised")
    assert event["name"] == "stall"
    assert started < event["time"] < records(begun.made, "StageFinished")[-1]["time"]
