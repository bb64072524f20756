"""What each stage of the pipeline costs, in time and memory. `make bench` prints the table.

The stage rows come from the journal of the newest complete run of each stage in this workspace, so run `make repro` first.
`predicted` is what the newest `workbench plan` before that run had said, where there was one.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from workbench import events
from workbench.answers import PREDICTED_METRIC
from workbench.lib.layout import JOURNAL_FOLDER
from workbench.tracking.journal import read_events

RUNS = 5
IMPORTS = {
    "pretrain": "from transformers import AutoModelForCausalLM, LlamaForCausalLM, Trainer",
    "sft": "from transformers import LlamaForCausalLM; from trl import SFTTrainer; import datasets",
    "align": "from transformers import LlamaForCausalLM; from trl import DPOTrainer; import datasets",
    "eval-perplexity": "from transformers import AutoModelForCausalLM, LlamaForCausalLM; import scipy.stats, zstandard",
    "eval-multiple-choice": "from transformers import LlamaForCausalLM; import lm_eval; from lm_eval.tasks import TaskManager",
    "eval-preference": "from transformers import AutoModelForCausalLM, LlamaForCausalLM",
    "report": "from transformers import AutoModelForCausalLM, LlamaForCausalLM; import jinja2, scipy.stats",
    "": "import pyarrow, numpy, pydantic, yaml",
}
"""What a stage imports, by the beginning of its name; the last entry stands for every other stage."""
GIBIBYTE = 1 << 30


@dataclass(frozen=True)
class StageRun:
    """A finished run of a stage."""

    stage: str
    began: float
    seconds: float
    peak: int
    """Bytes."""
    predicted: float | None
    """Seconds."""


def newest_runs(root: Path) -> dict[str, StageRun]:
    """The newest finished run of each stage."""
    found: dict[str, StageRun] = {}
    for journal in (root / JOURNAL_FOLDER).glob("*/*.jsonl"):
        read, offset, last = [], 0, -1
        while offset != last:
            last = offset
            more, offset = read_events(journal, offset)
            read += more
        started = next((event for event in read if isinstance(event, events.StageStarted)), None)
        finished = next((event for event in read if isinstance(event, events.StageFinished)), None)
        if started and finished and (started.stage not in found or found[started.stage].began < started.time):
            logged = [event.values for event in read if isinstance(event, events.MetricsLogged)]
            predicted = next((values[PREDICTED_METRIC] for values in logged if PREDICTED_METRIC in values), None)
            found[started.stage] = StageRun(started.stage, started.time, finished.seconds, finished.peak_memory, predicted)
    return found


def median_seconds(command: list[str], runs: int = RUNS) -> float:
    """Median wall time of a command over several runs after a warm-up."""
    times = []
    for _ in range(runs + 1):
        begin = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])


def start_up(stages: list[str]) -> float:
    """Seconds that all stages together spend on importing their libraries, each measured in a process of its own."""
    seconds = {name: median_seconds([sys.executable, "-c", statement], runs=3) for name, statement in IMPORTS.items()}
    return sum(next(seconds[name] for name in IMPORTS if stage.startswith(name)) for stage in stages)


def main() -> None:
    """Print the table."""
    runs = sorted(newest_runs(Path.cwd()).values(), key=lambda run: run.began)
    if not runs:
        sys.exit("error: no finished run in this workspace\n  fix: run `make repro` first")
    print(f"{'stage':32} {'seconds':>8} {'predicted':>10} {'peak GiB':>9}")
    for run in runs:
        predicted = "" if run.predicted is None else f"{run.predicted:.1f}"
        print(f"{run.stage:32} {run.seconds:8.1f} {predicted:>10} {run.peak / GIBIBYTE:9.2f}")
    total = sum(run.seconds for run in runs)
    print(f"{'all stages':32} {total:8.1f} {'':10} {max(run.peak for run in runs) / GIBIBYTE:9.2f}")
    imports = start_up([run.stage for run in runs])
    print(f"{'of that, imports of libraries':32} {imports:8.1f} ({imports / total:.0%})\n")
    print(f"{'command, median of ' + str(RUNS):32} {'seconds':>8}")
    for command in (["workbench", "--help"], ["workbench", "plugins"], ["workbench", "check"], ["dvc", "repro"]):
        print(f"{' '.join(command) + (' (nothing to do)' if command[0] == 'dvc' else ''):32} {median_seconds(command):8.2f}")
    print()


if __name__ == "__main__":
    main()
