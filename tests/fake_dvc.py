"""A stand-in for DVC in tests of tracking: a real process with that name that runs real stage processes and writes dvc.lock.

The stages tell synthetic events through the real journal, so that a whole session takes a second, not minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml

from workbench.tracking import session, watcher

DVC = """
import json, os, subprocess, sys, time
for step in json.load(open("plan.json")):
    environment = {**os.environ, "DVC_ROOT": os.getcwd(), "DVC_STAGE": step["name"]}
    if subprocess.call([sys.executable, "stage.py", json.dumps(step)], env=environment):
        sys.exit(1)
    subprocess.check_call([sys.executable, "lock.py", json.dumps(step)])
"""

STAGE = """
import json, os, signal, sys, time
from pathlib import Path
from workbench.artifacts import digests
from workbench import events
from workbench.artifacts import dvc_lock
from workbench.tracking.journal import Journal, find_interrupted
from workbench.run import Chart, Generation
from workbench.lib.processes import process_start
from workbench.tracking.session import current_session, note_refusal
from workbench.lib.layout import main_root
from workbench.tracking.watcher import ensure_watcher

step = json.loads(sys.argv[1])
root = main_root(Path.cwd())
session = current_session(Path.cwd())
ensure_watcher(root, session)
if step["name"] == "resolve":
    sys.exit(0)
if step["ends"] == "refused":
    note_refusal(root, session.id, step["name"], "its input is damaged")
    sys.exit(1)
run = step["run"]
journal = find_interrupted(root, session.id, step["fingerprint"]) or Journal.create(root, session.id, run)
run = journal.run
now = time.time()
known = dvc_lock.outputs(Path.cwd())
columns = {"id": "string", "meta": "struct<a: int64>"}
inputs = [
    events.Artifact("data", path, "model" if path in known else "corpus", known.get(path, "0" * 32 + ".dir"), 7, 100, columns)
    for path in step["inputs"]
]
journal.write(events.StageStarted(
    run, now, session.id, step["name"], step["name"], step["kind"], step["plugin"], 3, os.getpid(), process_start(os.getpid()),
    {"learning_rate": 0.1}, {"use": step["plugin"], "config": {"learning_rate": 0.1, "api_key": "canary"}, "seed": 3},
    inputs, step["fingerprint"], {"processor": "x"}, "python -m workbench run", str(Path.cwd()), session.experiment))
for i in range(step["steps"]):
    journal.metrics({"loss": 1 / (i + 1), "grad_norm": float("nan") if i == 2 else 1.0}, i)
journal.write(events.AlertRaised(run, now, "not-finite", "grad_norm is <nan> at step 2, token=canary"))
rows = [{"text": "<script>alert(1)</script>", "value": 1.5}, {"text": "=cmd()", "value": None}]
journal.table("examples", "Examples <b>", rows)
journal.chart(Chart("loss", "Loss $x", "step", "nats", [1, 2, 3], {"train": [3.0, 2.0, 1.0], "_held": [3.0, float("nan"), 2.0]}))
journal.chart(Chart("sizes", "Sizes", "source", "documents", ["a$", "b"], {"kept": [3.0, 2.0]}))
journal.text("samples", "# Samples")
if step["kind"] == "eval":
    journal.generation(Generation("Say <hi>", "hi", 1, 0.25, 1.0))
    journal.generation(Generation("Say ho", "ho", 1, 0.25))
time.sleep(step["seconds"])
if step["ends"] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if step["ends"] == "failed":
    journal.write(events.StageFailed(run, time.time(), "FAILED", "no room", "Traceback: token=canary"))
    journal.close()
    sys.exit(1)
for flow, path in step["outputs"].items():
    Path(path).mkdir(parents=True, exist_ok=True)
    (Path(path) / "config.json").write_text(json.dumps({"made_by": step["name"], "content": step["content"]}))
    artifact = events.Artifact(flow, path, step["format"], "", None, 10)
    journal.write(events.ArtifactCommitted(run, time.time(), artifact))
journal.write(events.StageFinished(run, time.time(), step["metrics"], 1.5, 10**9))
journal.close()
"""

LOCK = """
import json, sys
from pathlib import Path
import yaml
from workbench.artifacts import digests
from workbench.artifacts import dvc_lock
step = json.loads(sys.argv[1])
if step["name"] == "resolve":
    sys.exit(0)
file = Path("dvc.lock")
known = dvc_lock.outputs(Path.cwd())
lock = yaml.safe_load(file.read_text()) if file.exists() else {"schema": "2.0", "stages": {}}
lock["stages"][step["name"]] = {
    "cmd": "x",
    "deps": [{"path": path, "md5": known.get(path, "0" * 32 + ".dir")} for path in step["inputs"]],
    "outs": [{"path": path, "md5": digests.of(Path(path))} for path in step["outputs"].values()],
}
file.write_text(yaml.safe_dump(lock, sort_keys=False))
"""


@dataclass(frozen=True)
class Step:
    """One stage of a fake pipeline, and what becomes of it."""

    name: str
    kind: str = "sft"
    plugin: str = "trl"
    run: str = ""
    fingerprint: str = ""
    inputs: tuple[str, ...] = ()
    outputs: dict[str, str] = field(default_factory=dict)
    format: str = "model"
    content: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    steps: int = 5
    seconds: float = 0.0
    ends: str = "finished"


@dataclass(frozen=True)
class Workspace:
    """A folder with a pipeline that :meth:`repro` runs in real processes."""

    root: Path
    pythonpath: tuple[Path, ...]

    @classmethod
    def create(cls, root: Path, stages: list[str], pythonpath: tuple[Path, ...], trackers: list[str]) -> Workspace:
        """Write the scripts and a dvc.yaml with these stages."""
        root.mkdir(parents=True, exist_ok=True)
        (root / "dvc").write_text(DVC)
        (root / "stage.py").write_text(STAGE)
        (root / "lock.py").write_text(LOCK)
        commands = {
            name: {"cmd": f"python -m workbench run {name} --out data/{name}", "outs": [f"data/{name}"]} for name in stages
        }
        (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": commands}, sort_keys=False))
        (root / "params.yaml").write_text("sft: {use: trl}\n")
        (root / "compute.yaml").write_text(yaml.safe_dump({"trackers": trackers}))
        return cls(root, pythonpath)

    def start(self, *steps: Step, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start ``dvc repro`` with the given stages."""
        (self.root / "plan.json").write_text(json.dumps([self._plan(step) for step in (Step("resolve"), *steps)]))
        paths = os.pathsep.join([*map(str, self.pythonpath), os.environ.get("PYTHONPATH", "")])
        everything = {**os.environ, "PYTHONPATH": paths, **(environment or {})}
        return subprocess.Popen([sys.executable, "dvc", "repro"], cwd=self.root, env=everything)

    def repro(self, *steps: Step, environment: dict[str, str] | None = None, timeout: float = 90.0) -> int:
        """Run ``dvc repro`` to its end and wait for its watcher; returns DVC's exit code."""
        process = self.start(*steps, environment=environment)
        code = process.wait(timeout)
        for folder in (self.root / session.JOURNAL_FOLDER).glob(f"{process.pid}-*"):
            assert watcher.wait_for_watcher(self.root, folder.name, timeout), (folder / "watcher.log").read_text()
        return code

    def _plan(self, step: Step) -> dict[str, object]:
        return {**asdict(step), "fingerprint": step.fingerprint or f"f-{step.name}", "run": step.run or f"r-{step.name}"}
