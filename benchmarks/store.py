"""How the MLflow store behaves when it is large or busy: `make bench-store` prints what reading and writing take.

A store of 2,000 stage runs is written by the tracker itself, in sessions of a whole pipeline. Then a real browser opens the table
of runs, and `workbench compare` answers for two sessions; beside each stands what it takes on a store that holds nothing but two
sessions. Then one stage, and six at once in processes of their own, write metrics into one SQLite store, whose points are counted
afterwards.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import browser
from workbench_tracker_mlflow.tracker import MlflowTracker

from workbench import events
from workbench.records.record import RESULTS_LOCK

STAGES = {
    "curate@corpus": "source",
    "curate@instructions": "source",
    "curate@preferences": "source",
    "dedup": "dedup",
    "tokenize": "tokenizer",
    "pretrain": "pretrain",
    "sft": "sft",
    "align": "align",
    "eval@perplexity-base": "eval",
    "eval@perplexity-aligned": "eval",
}
RUNS, REPEATS = 2_000, 5
WRITERS, POINTS, BATCH = 6, 50_000, 500


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=RUNS)
    options = parser.parse_args()
    say = functools.partial(print, flush=True)
    with tempfile.TemporaryDirectory(prefix="workbench-store-") as folder:
        large, small, busy = Path(folder, "large"), Path(folder, "small"), Path(folder, "busy")
        seconds, sessions = _fill(large, options.runs)
        say(f"{options.runs:,} stage runs written in {seconds:.0f} s, {seconds / options.runs * 1000:.0f} ms a stage run")
        _, few = _fill(small, 2 * len(STAGES))
        say(f"the table of runs opens in {_spread(_open_page(large))}; at most 3 s")
        say(f"  with {2 * len(STAGES)} stage runs: {_spread(_open_page(small))}")
        say(f"`workbench compare` of two sessions answers in {_spread(_compare(large, sessions))}; at most 5 s")
        say(f"  with {2 * len(STAGES)} stage runs: {_spread(_compare(small, few))}")
        for writers in (1, WRITERS):
            points, seconds = _write(busy / str(writers), writers)
            expected = writers * POINTS
            lost = "none lost" if points == expected else f"{expected - points:,} LOST"
            say(f"{writers} stage{'s' * (writers > 1)}: {points:,} points in {seconds:.1f} s, {points / seconds:,.0f}/s; {lost}")


def _fill(root: Path, runs: int) -> tuple[float, list[str]]:
    """Write sessions until there are so many stage runs; the seconds, and MLflow's ids of the last two sessions."""
    tracker = _tracker(root)
    began = time.perf_counter()
    sessions = -(-runs // len(STAGES))
    for number in range(sessions):
        _session(tracker, root, f"session-{number}", number)
    seconds = time.perf_counter() - began
    found = tracker.store.find({"workbench.role": "session"}, limit=2)
    return seconds, [run.info.run_id for run in found]


def _tracker(root: Path) -> MlflowTracker:
    root.mkdir(parents=True, exist_ok=True)
    (root / "compute.yaml").write_text("trackers: [mlflow]\n")
    tracker = MlflowTracker(MlflowTracker.Config())
    tracker.open(root)
    return tracker


def _session(tracker: MlflowTracker, root: Path, session: str, number: int) -> None:
    now = time.time()
    tracker.session_started(
        events.SessionStarted(session, now, str(root), "c0ffee" * 6, dirty=False, command="dvc repro", stages=list(STAGES))
    )
    path, digest = "raw", "0" * 32
    results: dict[str, Any] = {}
    for index, (stage, kind) in enumerate(STAGES.items()):
        inputs = [events.Artifact("data", path, "corpus", digest, 1_000, 10**6)]
        deps = [{"path": path, "hash": "md5", "md5": digest}]
        path, digest = f"data/{stage}", f"{number:016x}{index:016x}"
        begun = _started(session, stage, kind, inputs, root, number)
        outs = [{"path": path, "hash": "md5", "md5": digest}]
        entries = {"plugins.lock.json": {f"stages.{begun.entry}": begun.lock}}
        results[stage] = {"cmd": begun.command, "deps": deps, "params": entries, "outs": outs}
        tracker.stage_started(begun)
        run = f"{session}-{stage}"
        steps = [events.MetricsLogged(run, now, {"loss": 1 / (step + 1), "tokens": float(step)}, step) for step in range(20)]
        tracker.metrics_logged(steps)
        tracker.artifact_committed(events.ArtifactCommitted(run, now, events.Artifact("out", path, "corpus", "", 1_000, 10**6)))
        tracker.stage_finished(events.StageFinished(run, now, {"loss": 1.0 / (number + 1), "rows": 1_000.0}, 1.5, 10**9))
        tracker.outputs_hashed(events.OutputsHashed(run, now, {path: digest}))
    lock = root / RESULTS_LOCK
    lock.write_text(json.dumps({"schema": "2.0", "stages": results}), encoding="utf-8")
    tracker.session_finished(events.SessionFinished(session, time.time(), "FINISHED", {RESULTS_LOCK: str(lock)}))


def _started(session: str, stage: str, kind: str, inputs: list[events.Artifact], root: Path, number: int) -> events.StageStarted:
    config = {"rate": number / 1_000, "steps": 100}
    return events.StageStarted(
        run=f"{session}-{stage}",
        time=time.time(),
        session=session,
        stage=stage,
        entry=stage.replace("@", "."),
        kind=kind,
        plugin="default",
        seed=0,
        pid=1,
        process_started=0.0,
        config=config,
        lock={"use": "default", "config": config, "seed": 0, "plugins": {}},
        inputs=inputs,
        fingerprint=f"{number:08x}{stage}",
        machine={"threads": 2},
        command=f"python -m workbench run {stage.replace('@', '.')} --out data/{stage}",
        directory=str(root),
        reasons=[f"rate {number / 1_000} → {(number + 1) / 1_000}"],
    )


def _open_page(root: Path) -> list[float]:
    """Seconds from the address to the first rows of the table, each time in a browser without a cache."""
    path = browser.find_browser()
    if path is None:
        sys.exit("error: no chromium was found; run: apt-get install chromium")
    found = []
    with browser.served(root) as address, browser.browser(path) as chromium:
        for _ in range(REPEATS + 1):
            page = browser.new_page(chromium)
            began = time.perf_counter()
            page.goto(address)
            page.get_by_text("dvc repro").first.wait_for()
            found.append(time.perf_counter() - began)
            page.context.close()
    return found[1:]  # the server has just started at the first


def _compare(root: Path, sessions: list[str]) -> list[float]:
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    subprocess.run(["dvc", "init", "--quiet"], cwd=root, check=True)

    def ask() -> None:
        done = subprocess.run(
            ["workbench", "compare", *reversed(sessions)], cwd=root, capture_output=True, text=True, check=False
        )
        if done.returncode or "rate" not in done.stdout:
            sys.exit(f"error: workbench compare failed:\n{done.stdout}{done.stderr}")

    return [_seconds(ask) for _ in range(REPEATS)]


def _write(root: Path, writers: int) -> tuple[int, float]:
    """Points that are in the store afterwards, and the seconds until the last writer was done."""
    tracker = _tracker(root)
    tracker.session_started(events.SessionStarted("session", time.time(), str(root), "", dirty=False, stages=list(STAGES)))
    names = list(STAGES)[:writers]
    for stage in names:
        tracker.stage_started(_started("session", stage, STAGES[stage], [], root, 0))
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(writers + 1)
    processes = [context.Process(target=_points, args=(root, f"session-{stage}", ready)) for stage in names]
    for process in processes:
        process.start()
    ready.wait()
    began = time.perf_counter()
    for process in processes:
        process.join()
    seconds = time.perf_counter() - began
    if failed := [process.exitcode for process in processes if process.exitcode]:
        sys.exit(f"error: {len(failed)} writers failed")
    runs = [tracker.store.find({"workbench.run": f"session-{stage}"})[0].info.run_id for stage in names]
    return sum(len(tracker.store.client.get_metric_history(run, "loss")) for run in runs), seconds


def _points(root: Path, run: str, ready: Any) -> None:
    tracker = _tracker(root)
    tracker.metrics_logged([events.MetricsLogged(run, time.time(), {"ready": 1.0}, 0)])
    ready.wait()
    for start in range(0, POINTS, BATCH):
        steps = range(start, start + BATCH)
        tracker.metrics_logged([events.MetricsLogged(run, time.time(), {"loss": 1 / (step + 1)}, step) for step in steps])


def _seconds(act: Callable[[], None]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.1f} s (median of {len(seconds)}, {min(seconds):.1f} to {max(seconds):.1f})"


if __name__ == "__main__":
    main()
