"""The plan: for every stage whether it would run now, why, and what it will cost. Nothing that DVC tracks is written."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.answers import PastRun
from workbench.artifacts import digests, dvc_lock
from workbench.estimate import Estimate
from workbench.lib import compute, machine
from workbench.lib.layout import LOCK_FILE, main_root
from workbench.planning import calibration, causes
from workbench.planning.forecast import Forecast
from workbench.planning.former import former_locks
from workbench.project import plugin_lock, resolve
from workbench.project.dvc.replay import Answer, ChangeSinceRun, StageOutcome, replay
from workbench.project.pipeline import StageCall
from workbench.project.plugin_lock import Resolved

MAY_RUN = (Answer.RUNS, Answer.IF_CHANGED)


@dataclass(frozen=True)
class StagePlan:
    """What a ``dvc repro`` would do with a stage."""

    stage: str
    """DVC's name for it."""
    answer: Answer
    reasons: tuple[str, ...]
    awaits: tuple[str, ...]
    """The earlier stages whose outputs may change."""
    record: Mapping[str, Any]
    """The entry that plugins-lock.json would hold; empty for stages that do not run the workbench."""
    forecast: Forecast | None = None
    """Its cost; None if it will not run or the cost is unknown."""
    problem: str = ""
    """Why its cost is unknown."""


def make(root: Path, targets: Sequence[str] = (), *, costs: bool = True) -> list[StagePlan]:
    """Plan a ``dvc repro TARGETS``, stage by stage in its order.

    Args:
        root: the workspace, which must be the current directory.
        targets: stages as DVC names them; none means all.
        costs: whether to say what the stages will cost, for which the trackers are asked.

    Raises:
        WorkbenchError: what ``workbench check`` finds wrong, or DVC cannot read the pipeline.
    """
    situation = _Situation.read(root)
    outcomes = situation.replay(targets)
    answers = {outcome.stage: outcome.answer for outcome in outcomes}
    plans = [situation.explain(outcome, answers) for outcome in outcomes]
    return _Costs(situation).of(plans) if costs else plans


def stale(root: Path) -> dict[str, tuple[str, ...]]:
    """For each stage of dvc.yaml, why its recorded result is not of what the files ask for now; that it is absent is no reason.

    Args:
        root: the workspace, which must be the current directory.

    Raises:
        WorkbenchError: as :func:`make`.
    """
    situation = _Situation.read(root)
    outcomes = situation.replay()
    answers = {outcome.stage: outcome.answer for outcome in outcomes}
    found: dict[str, tuple[str, ...]] = {}
    for outcome in outcomes:
        changes = tuple(change for change in outcome.changes if _outdates(change, found))
        found[outcome.stage] = situation.explain(replace(outcome, changes=changes), answers).reasons if changes else ()
    return found


def _outdates(change: ChangeSinceRun, known: Mapping[str, Sequence[str]]) -> bool:
    match change.kind:
        case "awaited":
            return bool(known.get(change.maker))
        case "input":
            return bool(change.after != "missing")
        case "output":
            return bool(change.after == "modified")
    return True


@dataclass(frozen=True)
class _Situation:
    """What the workspace asks for now, next to what made the existing results."""

    root: Path
    resolved: Mapping[str, Resolved]
    """Address in params.yaml → stage."""
    calls: Mapping[str, StageCall]
    """DVC's name → call."""
    content: Mapping[str, Any]
    """What plugins-lock.json would hold."""
    parts: causes.Parts
    commands: Mapping[str, str]
    """DVC's name → the command that made the result."""

    @classmethod
    def read(cls, root: Path) -> _Situation:
        resolved, calls = resolve.check(root)
        content = plugin_lock.make(root, resolved, (out for call in calls for out in call.outs))
        return cls(
            root,
            {item.entry.address: item for item in resolved},
            {call.address: call for call in calls},
            content,
            causes.parts_of([*former_locks(root), content]),
            {name: stage.get("cmd", "") for name, stage in dvc_lock.stages(root).items()},
        )

    def replay(self, targets: Sequence[str] = ()) -> list[StageOutcome]:
        """What ``dvc repro TARGETS`` would do."""
        with tempfile.TemporaryDirectory() as folder:
            proposed = Path(folder, LOCK_FILE.name)
            proposed.write_text(json.dumps(self.content), encoding="utf-8")
            return replay(self.root, proposed, targets)

    def explain(self, outcome: StageOutcome, answers: Mapping[str, Answer]) -> StagePlan:
        """Describe an outcome in words."""
        commands = {"command": self.commands.get(outcome.stage)}
        changes = [replace(change, before=commands.get(change.kind, change.before)) for change in outcome.changes]
        reasons = causes.reasons(changes, answers, self.parts) + self._policy(outcome)
        if outcome.always:
            reasons = ["it runs every time"]
        awaits = dict.fromkeys(change.maker for change in changes if change.kind == "awaited")
        return StagePlan(outcome.stage, outcome.answer, tuple(reasons), tuple(awaits), self._record(outcome.stage))

    def _policy(self, outcome: StageOutcome) -> list[str]:
        """What the stage's rerun policy makes of code that has moved."""
        call = self.calls.get(outcome.stage)
        moved = self.content.get("moved", {}).get(call.entry) if call is not None else None
        if moved is None:
            return []
        if moved["rerun"] == "pin" and outcome.answer in MAY_RUN:
            return [f"`rerun: pin` will refuse to run it with the code of {', '.join(moved['plugins'])}, which has moved"]
        return [f"`rerun: {moved['rerun']}` keeps its result although the code of {', '.join(moved['plugins'])} has moved"]

    def _record(self, stage: str) -> dict[str, Any]:
        if stage not in self.calls:
            return {}
        found: Any = self.content["stages"]
        for part in self.calls[stage].entry.split("."):
            found = found[part]
        return dict(found)


class _Costs:
    """Says what stages will cost, from their plugins' estimates and from past runs."""

    def __init__(self, situation: _Situation) -> None:
        self._situation = situation
        self._machine = digests.of_record(machine.fingerprint(compute.choose(compute.load_config(situation.root))))
        self._past: dict[tuple[str, str], list[PastRun]] = {}
        self._problem = ""

    def of(self, plans: Sequence[StagePlan]) -> list[StagePlan]:
        """The plans with the costs of what may run."""
        return [self._add(plan) if plan.answer in MAY_RUN and plan.record else plan for plan in plans]

    def _add(self, plan: StagePlan) -> StagePlan:
        call = self._situation.calls[plan.stage]
        resolved = self._situation.resolved[call.entry]
        inputs = {flow: self._situation.root / call.flows[flow] for flow in resolved.stage.inputs if flow in call.flows}
        try:
            estimate = resolved.stage.estimate(inputs)
        except Exception as error:  # noqa: BLE001 - a third-party plugin may raise anything, and the plan works without it
            return replace(plan, problem=f"its plugin's estimate failed: {type(error).__name__}: {error}")
        past = [run for run in self._past_runs(resolved) if run.unit == estimate.unit]
        return replace(plan, forecast=_forecast(estimate, past), problem=self._problem)

    def _past_runs(self, resolved: Resolved) -> list[PastRun]:
        key = (resolved.stage.kind, resolved.stage.name)
        if key not in self._past and not self._problem:
            try:
                self._past[key] = calibration.past_runs(main_root(self._situation.root), *key, self._machine)
            except Exception as error:  # noqa: BLE001 - the same for trackers
                self._problem = f"past runs cannot be read: {type(error).__name__}: {error}"
        return self._past.get(key, [])


def _forecast(estimate: Estimate, past: Sequence[PastRun]) -> Forecast:
    return Forecast(
        work=estimate.work,
        unit=estimate.unit,
        tokens=estimate.tokens,
        flops=estimate.flops,
        memory=calibration.peak_memory(estimate.memory, past),
        seconds=calibration.seconds(estimate.work, past),
        past_runs=len(past),
    )
