"""What tracking costs a training: `make bench-tracking` prints its speed beside that of the same training without a tracker.

The default model is pretrained for one to two minutes by `dvc repro`, in turn with no tracker, with a live MLflow server on this
machine and with a server that is dead. A row's ratio is the median of its ratios to the neighbouring run without a tracker.
The numbers are logged four times as often as in the default pipeline, and the server takes its share of the same processors.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from mlflow_server import Server

from workbench import events
from workbench.lib.layout import JOURNAL_FOLDER
from workbench.run import Compute
from workbench.tracking import watcher
from workbench.tracking.journal import read_events

PROJECT = Path(__file__).resolve().parent.parent
RUNS, STEPS = 4, 200
LOGGING_STEPS = 5
ALLOWED = 0.03
"""Share of the throughput that tracking may cost."""
DOCUMENTS = 400
WAIT = 300
ARMS = {"none": "no tracker", "server": "MLflow server", "dead": "MLflow server, dead"}
PIPELINE: Mapping[str, Any] = {
    "resolve": {
        "cmd": "python -m workbench resolve",
        "always_changed": True,
        "outs": [{"plugins-lock.json": {"cache": False, "persist": True}}],
    },
    "pretrain": {
        "cmd": "python -m workbench run pretrain --corpus raw/corpus --tokenizer raw/tokenizer "
        "--out data/base --metrics data/base.json",
        "params": [{"plugins-lock.json": ["stages.pretrain"]}],
        "deps": ["raw/corpus", "raw/tokenizer"],
        "outs": ["data/base"],
        "metrics": [{"data/base.json": {"cache": False}}],
    },
}


@dataclass(frozen=True)
class Speed:
    """Tokens a second of one training."""

    whole: float
    """From the first row of its log to the last: all but the start of the process and the first steps."""
    late: float
    """Its second half: the tracker has begun by then."""


@dataclass
class Bench:
    """A workspace with one stage, and the speeds that were measured in it."""

    root: Path
    steps: int
    uris: Mapping[str, str]
    """Arm → address of the store."""
    speeds: dict[str, list[Speed]] = field(default_factory=lambda: {arm: [] for arm in ARMS})

    def prepare(self) -> None:
        """Real text, a tokenizer of it, and a pipeline of one stage with the default settings but its length."""
        (self.root / ".dvc").mkdir(parents=True)
        (self.root / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
        stage = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))["pretrain"]
        batch = stage["with"]["batch_size"] * stage["with"]["gradient_accumulation"]
        stage["with"] |= {"tokens": self.steps * batch * stage["with"]["context_length"], "logging_steps": LOGGING_STEPS}
        (self.root / "params.yaml").write_text(yaml.safe_dump({"pretrain": stage}))
        (self.root / "dvc.yaml").write_text(yaml.safe_dump({"stages": PIPELINE}, sort_keys=False))
        make_inputs(self.root / "raw")

    def measure(self, arm: str) -> None:
        """Train once."""
        config = yaml.safe_load((PROJECT / "compute.yaml").read_text(encoding="utf-8"))
        (self.root / "compute.yaml").write_text(yaml.safe_dump({**config, "trackers": [] if arm == "none" else ["mlflow"]}))
        variables = {**os.environ, "MLFLOW_TRACKING_URI": self.uris.get(arm, ""), "DVC_NO_ANALYTICS": "1"}
        known = {*self._journals()}
        done = subprocess.run(
            ["dvc", "repro", "--force"], cwd=self.root, env=variables, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"error: the training of arm {arm!r} has failed\n{done.stderr}")
        (journal,) = {*self._journals()} - known
        watcher.wait_for_watcher(self.root, journal.parent.name, WAIT)  # it must not disturb the next one
        self.speeds[arm].append(_speed(journal))

    def lines(self) -> Iterator[str]:
        """The table, and whether the claim holds."""
        yield f"{'tracking':<22} {'tokens/s':>9} {'of none':>8} {'2nd half':>9} {'of none':>8}"
        worst = 1.0
        for arm, name in ARMS.items():
            whole, late = self._ratio(arm, "whole"), self._ratio(arm, "late")
            worst = min(worst, whole)
            medians = [statistics.median(getattr(speed, part) for speed in self.speeds[arm]) for part in ("whole", "late")]
            yield f"{name:<22} {medians[0]:>9,.0f} {whole:>8.3f} {medians[1]:>9,.0f} {late:>8.3f}"
        verdict = "holds" if worst >= 1 - ALLOWED else "DOES NOT HOLD"
        yield f"tracking costs at most {ALLOWED:.0%}: {verdict} ({1 - worst:+.1%} of the whole training of {self.steps} steps)"

    def _ratio(self, arm: str, part: str) -> float:
        pairs = zip(self.speeds[arm], self.speeds["none"], strict=True)
        return statistics.median(getattr(one, part) / getattr(none, part) for one, none in pairs)

    def _journals(self) -> Iterator[Path]:
        files = (self.root / JOURNAL_FOLDER).glob("*/[!_]*.jsonl")
        return (file for file in files if not file.name.endswith(".observed.jsonl"))


def make_inputs(folder: Path) -> None:
    """A corpus of the standard library's modules and a tokenizer of the default size."""
    from workbench_tokenizer_bpe import Bpe, BpeConfig

    from workbench.artifacts import corpus
    from workbench.artifacts.corpus import Document
    from workbench.run import Run

    files = sorted(Path(os.__file__).parent.glob("*/*.py"))[:DOCUMENTS]
    texts = {file.name: file.read_text(encoding="utf-8", errors="replace") for file in files}
    documents = [Document(text, "stdlib", {"origin": name}) for name, text in texts.items() if text.strip()]
    rows = ({"id": d.id, "text": d.text, "source": d.source, "meta": dict(d.meta)} for d in documents)
    corpus.write(folder / "corpus", rows, corpus.schema(["origin"]))
    with tempfile.TemporaryDirectory() as scratch:
        run = Run("tokenize", 0, Compute("cpu", 1, "fp32"), Path(scratch), Path(scratch), _Quiet())
        Bpe(BpeConfig()).execute({"corpus": folder / "corpus"}, {"out": folder / "tokenizer"}, run)


class _Quiet:
    """A listener of nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def _speed(journal: Path) -> Speed:
    read, offset, last = [], 0, -1
    while offset != last:
        last = offset
        more, offset = read_events(journal, offset)
        read += more
    rows = [event for event in read if isinstance(event, events.MetricsLogged) and "tokens" in event.values]
    return Speed(_between(rows), _between(rows[len(rows) // 2 :]))


def _between(rows: list[events.MetricsLogged]) -> float:
    return (rows[-1].values["tokens"] - rows[0].values["tokens"]) / (rows[-1].time - rows[0].time)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="of each arm")
    parser.add_argument("--steps", type=int, default=STEPS, help="of each training")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server ends too
    with tempfile.TemporaryDirectory() as folder:
        server, dead = Server(Path(folder) / "server"), Server(Path(folder) / "dead")
        bench = Bench(Path(folder) / "root", options.steps, {"server": server.uri, "dead": dead.uri})
        try:
            server.start()
            bench.prepare()
            for run in range(options.runs):
                for arm in ARMS:
                    bench.measure(arm)
                    speed = bench.speeds[arm][-1]
                    said = f"run {run + 1}, {ARMS[arm]}: {speed.whole:,.0f} tokens/s, 2nd half {speed.late:,.0f}"
                    print(said, file=sys.stderr, flush=True)
        finally:
            server.kill()
    print("\n".join(bench.lines()))


if __name__ == "__main__":
    main()
