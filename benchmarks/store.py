"""How the MLflow store behaves when it is large or busy: `make bench-store` prints what reading and writing take.

A store of 2,000 stage runs is written by the tracker itself, in sessions of a whole pipeline. Then a real browser opens the table
of runs, the first time and when it has MLflow's scripts already, and `workbench compare` answers for two sessions. Beside both
stands what they take on a store that holds nothing but two sessions; beside `compare` a process that does nothing but open the
store with MLflow's client, in turn. Then one stage, and six at once in processes of their own, write metrics into one SQLite
store, whose points are counted afterwards.
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
from workbench_tracker_mlflow import tags
from workbench_tracker_mlflow.tracker import MlflowTracker

from workbench import events
from workbench.answers import RESULTS_LOCK

STAGES = {
    "curate@corpus": "source",
    "curate@instructions": "source",
    "curate@preferences": "source",
    "dedup": "dedup",
    "tokenize": "tokenizer",
    "pretrain": "pretrain",
    "sft": "sft",
    "align": "align",
    "eval-perplexity@base": "eval",
    "eval-perplexity@aligned": "eval",
}
RUNS, REPEATS = 2_000, 5
WRITERS, POINTS, BATCH = 6, 50_000, 500


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="write the stores there, and take those that are there")
    options = parser.parse_args()
    say = functools.partial(print, flush=True)
    with tempfile.TemporaryDirectory(prefix="workbench-store-") as temporary:
        kept: Path = options.keep or Path(temporary)
        large, small = kept / "large", kept / "small"
        if seconds := _fill(large, options.runs):
            say(f"{options.runs:,} stage runs written in {seconds:.0f} s, {seconds / options.runs * 1000:.0f} ms a stage run")
        _fill(small, 2 * len(STAGES))
        _report(say, large, options.runs)
        _report(say, small, 2 * len(STAGES))
        for writers in (1, WRITERS):
            points, seconds = _write(Path(temporary, "busy", str(writers)), writers)
            expected = writers * POINTS
            lost = "none lost" if points == expected else f"{expected - points:,} LOST"
            say(f"{writers} stage{'s' * (writers > 1)}: {points:,} points in {seconds:.1f} s, {points / seconds:,.0f}/s; {lost}")


def _report(say: Callable[[str], None], store: Path, runs: int) -> None:
    say(f"a store of {runs:,} stage runs")
    first, later = _open_page(store)
    say(f"  the table of runs opens in {_spread(later)}, on the first visit in {_spread(first)}; at most 3 s")
    compared, opened = _compare(store)
    say(f"  `workbench compare` answers in {_spread(compared)}; at most 5 s")
    ratio = statistics.median(ours / bare for ours, bare in zip(compared, opened, strict=True))
    say(f"  that is {ratio:.2f} times what opening the store with MLflow's client alone takes, {_spread(opened)}")


def _fill(root: Path, runs: int) -> float:
    """Write sessions until there are so many stage runs; the seconds, 0 where they are there."""
    if (root / ".workbench" / "mlflow.db").exists():
        return 0.0
    tracker = _tracker(root)
    began = time.perf_counter()
    for number in range(-(-runs // len(STAGES))):
        _session(tracker, root, f"session-{number}", number)
    return time.perf_counter() - began


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
        entries = {"plugins-lock.json": {f"stages.{begun.entry}": begun.lock}}
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


def _open_page(root: Path) -> tuple[list[float], list[float]]:
    """Seconds from the address to the first rows of the table: in a browser that has nothing of it yet, and in one that has."""
    path = browser.find_browser()
    if path is None:
        sys.exit("error: no chromium was found; run: apt-get install chromium")
    first, later = [], []
    with browser.served(root) as address, browser.browser(path) as chromium:
        for repeat in range(REPEATS + 1):
            with browser.new_page(chromium).context as visitor:
                times = [_seconds(functools.partial(_visit, page, address)) for page in (visitor.pages[0], visitor.new_page())]
            if repeat:  # the server has just started at the first
                first.append(times[0])
                later.append(times[1])
    return first, later


def _visit(page: Any, address: str) -> None:
    page.goto(address)
    page.get_by_text("dvc repro").first.wait_for()


def _compare(root: Path) -> tuple[list[float], list[float]]:
    """Seconds of `workbench compare` of the last two sessions, and of opening the store alone, in turn."""
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    subprocess.run(["dvc", "init", "--quiet", "--force"], cwd=root, check=True)
    store = _tracker(root).store
    after, before = [run.info.run_id for run in store.find({tags.ROLE: "session"}, limit=2)]
    code = f"from mlflow import MlflowClient; MlflowClient({store.uri!r}).get_run({after!r})"

    def ask() -> None:
        done = subprocess.run(["workbench", "compare", before, after], cwd=root, capture_output=True, text=True, check=False)
        if done.returncode or "rate" not in done.stdout:
            sys.exit(f"error: workbench compare failed:\n{done.stdout}{done.stderr}")

    def only_open() -> None:
        subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=True)

    ask()  # what it leaves compiled and cached on disk is there from the second time on
    pairs = [(_seconds(ask), _seconds(only_open)) for _ in range(REPEATS)]
    return [ours for ours, _ in pairs], [bare for _, bare in pairs]


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
