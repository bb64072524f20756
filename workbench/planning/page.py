"""Plans as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from workbench.planning.forecast import Forecast
from workbench.planning.plan import MAY_RUN, StagePlan
from workbench.project.dvc.replay import Answer

_SCALES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def lines(plans: Sequence[StagePlan]) -> Iterator[str]:
    """The plan as text: one line per stage with its cost, reasons below it, and a summary."""
    width = max((len(plan.stage) for plan in plans), default=0)
    for plan in plans:
        cost = f"   {_cost(plan.forecast)}" if plan.forecast else ""
        yield f"{plan.stage:{width}}  {plan.answer}{cost}"
        if plan.reasons:
            yield f"{'':{width}}    {'; '.join(plan.reasons)}"
    yield from dict.fromkeys(plan.problem for plan in plans if plan.problem)
    yield _verdict(plans)


def explanation(plans: Sequence[StagePlan], stage: str) -> Iterator[str]:
    """Why one stage would or would not run, back to the causes in the stages before it."""
    known = {plan.stage: plan for plan in plans}
    yield from _explain(known, stage, 0, set())


def records(plans: Sequence[StagePlan]) -> list[dict[str, Any]]:
    """The plan as JSON-serialisable records."""
    return [_record(plan) for plan in plans]


def record(plans: Sequence[StagePlan], stage: str) -> dict[str, Any]:
    """One stage's record; ``because`` holds those of the stages that it awaits, directly or through others."""
    known = {plan.stage: plan for plan in plans}
    pending, causes = [*known[stage].awaits], set[str]()
    while pending:
        name = pending.pop()
        if name not in causes:
            causes.add(name)
            pending += known[name].awaits
    return {**_record(known[stage]), "because": [_record(plan) for plan in plans if plan.stage in causes]}


def _explain(known: Mapping[str, StagePlan], stage: str, depth: int, told: set[str]) -> Iterator[str]:
    plan = known[stage]
    indent = "  " * depth
    if stage in told:
        return
    told.add(stage)
    yield f"{indent}{stage}: {plan.answer}"
    reasons = plan.reasons or ("all that decides its result is as it was when it was made",)
    yield from (f"{indent}  - {reason}" for reason in reasons)
    for name in plan.awaits:
        yield from _explain(known, name, depth + 1, told)


def _record(plan: StagePlan) -> dict[str, Any]:
    return {
        "stage": plan.stage,
        "answer": str(plan.answer),
        "reasons": list(plan.reasons),
        "awaits": list(plan.awaits),
        "estimate": asdict(plan.forecast) if plan.forecast else None,
        "problem": plan.problem,
    }


def _verdict(plans: Sequence[StagePlan]) -> str:
    counts = {answer: sum(plan.answer is answer for plan in plans) for answer in Answer}
    said = ", ".join(f"{number} {answer}" for answer, number in counts.items() if number)
    return f"{len(plans)} stages: {said}{_total(plans)}"


def _total(plans: Sequence[StagePlan]) -> str:
    costly = [plan for plan in plans if plan.answer in MAY_RUN and plan.record]
    timed = [(plan, plan.forecast.seconds) for plan in costly if plan.forecast and plan.forecast.seconds is not None]
    if not timed:
        return "; their time is unknown until each plugin has run once on this machine" if costly else ""
    least = sum(seconds for plan, seconds in timed if plan.answer is Answer.RUNS)
    most = sum(seconds for _, seconds in timed)
    span = _time(most) if least == most else f"{_time(least)} to {_time(most)}"
    unknown = f", and {len(costly) - len(timed)} stages of unknown time" if len(timed) < len(costly) else ""
    return f"; {span}{unknown}"


def _cost(forecast: Forecast) -> str:
    """Such as ``~3 min 20 s (from 2 runs), 2.01 M tokens, 27.4 TFLOP, 1.1 GB``."""
    runs = f"from {forecast.past_runs} run{'s' * (forecast.past_runs != 1)}"
    parts = [f"~{_time(forecast.seconds)} ({runs})" if forecast.seconds is not None else "uncalibrated"]
    amounts = [(forecast.tokens, "tokens"), (forecast.flops, "FLOP"), (forecast.memory, "B")]
    parts += [_scaled(value, unit) for value, unit in amounts if value]
    if not forecast.tokens and forecast.work:
        parts.insert(1, _scaled(forecast.work, "B" if forecast.unit == "bytes" else forecast.unit))
    return ", ".join(parts)


def _scaled(value: float, unit: str) -> str:
    # From 999.5 on three digits round to the next scale.
    size, prefix = next(((size, prefix) for size, prefix in _SCALES if value >= 0.9995 * size), (1.0, ""))
    gap = "" if unit in ("B", "FLOP") else " "
    return f"{value / size:.3g} {prefix}{gap}{unit}".replace("  ", " ")


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 90:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
