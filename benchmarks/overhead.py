"""What the workbench adds to DVC: `make bench` prints both, in seconds and as ratios.

Two workspaces are made, of 14 and of 200 light stages whose results are there already. Beside each lies another of the same
shape that is DVC's alone: same files and records, commands that do next to nothing. Commands are measured in turn, so that a busy
machine slows all of them; CPU time, which waits for nobody, is given too. The watcher, which runs apart, is in neither.
"""

from __future__ import annotations

import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import light_pipeline
from workspace import PROJECT, Workspace

from workbench.project import pipeline

RUNS = 5
SIZES = (14, 200)
"""Stages of the workspaces, `resolve` among them."""
OTHERS = 3
"""Stages that are no source and no evaluation: resolve, dedup, report."""
EVALUATIONS = 3
STAGE = "curate@other"
"""The stage whose run is measured."""
IDLE, ONE, OWN = "dvc repro, nothing to do", "dvc repro, one stage", "own cost around that stage"
TRACKERS = ("mlflow",)


@dataclass(frozen=True)
class Cost:
    """What one run of a command took, in seconds."""

    wall: float
    cpu: float
    """Of the command and all that it waited for."""


@dataclass(frozen=True)
class Case:
    """A command in a workspace."""

    name: str
    workspace: Workspace
    words: tuple[str, ...]

    def run(self) -> Cost:
        """Run it once, and let its watcher end before the next is measured."""
        before, begin = _children(), time.perf_counter()
        done = self.workspace.call(*self.words)
        cost = Cost(time.perf_counter() - begin, _children() - before)
        if done.code:
            sys.exit(f"error: {' '.join(self.words)}\n{done.text}")
        self.workspace.wait()
        return cost


def create(folder: Path, stages: int) -> Workspace:
    """A workspace of so many light stages; their outputs are written here, and `dvc commit` records them as results."""
    made = light_pipeline.create(folder, trackers=TRACKERS)
    made = replace(made, variables={key: value for key, value in made.variables.items() if key != "PYTHONDONTWRITEBYTECODE"})
    shutil.copyfile(PROJECT / ".dvcignore", made.root / ".dvcignore")
    made.edit("params.yaml", lambda content: _grow(content, stages))
    _must(made, sys.executable, "-m", "workbench", "resolve")
    made.wait()
    for call in pipeline.load(made.root):
        for out in call.outs:
            _write_output(made.root / out)
    _must(made, "dvc", "commit", "--force")
    _must(made, "dvc", "repro", "--single-item", "--force", STAGE)  # from now on it gives the bytes that are recorded
    made.wait()
    _must(made, "dvc", "commit", "--force")
    return made


def without_workbench(made: Workspace, folder: Path) -> Workspace:
    """The same workspace once more with commands that are DVC's alone."""
    copied = made.copy(folder)
    copied.edit("dvc.yaml", _simplify)
    _must(copied, "dvc", "commit", "--force")
    return copied


def cases(folder: Path, stages: int) -> tuple[list[Case], list[Case]]:
    """What is measured in a workspace of so many stages: DVC's own commands, then ours."""
    ours = create(folder / "ours", stages)
    alone = without_workbench(ours, folder / "alone")
    repro, stage = ("dvc", "repro"), ("dvc", "repro", "--single-item", "--force", STAGE)
    commands = {
        "workbench plan": ("workbench", "plan"),
        f"workbench why {STAGE}": ("workbench", "why", STAGE),
        "workbench check": ("workbench", "check"),
        "workbench resolve": ("workbench", "resolve"),
    }
    return (
        [Case(IDLE, alone, repro), Case(ONE, alone, stage)],
        [
            Case(IDLE, ours, repro),
            Case(ONE, ours, stage),
            *(Case(name, ours, words) for name, words in commands.items()),
        ],
    )


def measure(found: list[Case], runs: int = RUNS) -> list[Cost]:
    """Medians of each case over several rounds, after one that warms up."""
    rounds = [[case.run() for case in found] for _ in range(runs + 1)][1:]
    return [
        Cost(statistics.median(cost.wall for cost in costs), statistics.median(cost.cpu for cost in costs))
        for costs in zip(*rounds, strict=True)
    ]


def lines(stages: int, alone: Mapping[str, Cost], ours: Mapping[str, Cost]) -> Iterator[str]:
    """The table of one workspace. A command that DVC lacks is compared with a `dvc repro` that has nothing to do."""
    idle, one = alone.values()
    around = ours[ONE]
    own = Cost(around.wall - one.wall, around.cpu - one.cpu)
    columns = "".join(f" {name:>8}" for name in ("seconds", "DVC", "ratio", "CPU", "DVC", "ratio"))
    yield f"{f'{stages} light stages, median of {RUNS}':36}{columns}"
    for name, cost, base in [*((name, cost, alone.get(name, idle)) for name, cost in ours.items()), (OWN, own, one)]:
        numbers = (cost.wall, base.wall, cost.wall / base.wall, cost.cpu, base.cpu, cost.cpu / base.cpu)
        yield f"{name:36}" + "".join(f" {number:8.2f}" for number in numbers)


def main() -> None:
    """Print a table for each size."""
    for stages in SIZES:
        with tempfile.TemporaryDirectory(prefix="workbench-overhead-") as folder:
            alone, ours = cases(Path(folder), stages)
            costs = measure([*alone, *ours])
        named = [case.name for case in (*alone, *ours)]
        split = len(alone)
        found = dict(zip(named[:split], costs[:split], strict=True)), dict(zip(named[split:], costs[split:], strict=True))
        print("\n".join(lines(stages, *found)) + "\n")


def _grow(content: dict[str, Any], stages: int) -> None:
    """Add evaluations and sources until there are so many stages."""
    first = content["eval"]["first"]
    content["eval"] |= {f"e{number}": {**first, "seed": number} for number in range(1, EVALUATIONS)}
    other = content["curate"]["other"]
    missing = stages - OTHERS - len(content["eval"]) - len(content["curate"])
    content["curate"] |= {f"s{number}": {**other, "seed": number} for number in range(missing)}


def _simplify(content: dict[str, Any]) -> None:
    stages = content["stages"]
    stages["resolve"]["cmd"] = "true"
    for body in (stages[name].get("do", stages[name]) for name in stages if name != "resolve"):
        metrics = next(iter(body["metrics"][0]))
        body["cmd"] = f"mkdir -p {' '.join(body['outs'])} && echo '{{}}' > {metrics}"


def _write_output(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        path.write_text("{}\n", encoding="utf-8")
    else:
        path.mkdir(exist_ok=True)
        (path / "content.txt").write_text(str(path.name), encoding="utf-8")


def _must(made: Workspace, *words: str) -> None:
    done = made.call(*words)
    if done.code:
        sys.exit(f"error: {' '.join(words)}\n{done.text}")


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
