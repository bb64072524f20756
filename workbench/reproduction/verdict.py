"""Verdicts on repeating a stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workbench.errors import WorkbenchError
from workbench.events import ReproductionVerdict
from workbench.lib.difference import Difference

EXIT_CODES: Mapping[ReproductionVerdict, int] = {
    "BIT-EXACT": 0,
    "WITHIN-TOLERANCE": 0,
    "DIVERGED": 1,
    "INPUTS-CHANGED": 2,
    "CANNOT-RUN": 3,
}


class InputsChanged(WorkbenchError):  # noqa: N818 - it is a verdict
    """The inputs of the run are no longer available as they were."""


class CannotRun(WorkbenchError):  # noqa: N818 - it is a verdict
    """The code, the environment or the configuration of the run cannot be restored."""


@dataclass(frozen=True)
class MetricPair:
    """One metric of the two runs."""

    name: str
    original: float
    repeated: float
    allowed: float
    """Largest difference that counts as noise."""

    @property
    def within(self) -> bool:
        """Whether the difference is noise."""
        return abs(self.repeated - self.original) <= self.allowed


@dataclass(frozen=True)
class StageVerdict:
    """The result of repeating a stage."""

    stage: str
    verdict: ReproductionVerdict
    reason: str
    """One line."""
    fix: str = ""
    outputs: Mapping[str, Sequence[Difference]] = field(default_factory=dict)
    """Path of each output that was compared → its differences, empty if it has the recorded hash."""
    step: int | None = None
    """The first logged training step whose numbers differ."""
    metrics: Sequence[MetricPair] = ()
    machine: Sequence[str] = ()
    """Differences between the two machines."""

    @property
    def exit_code(self) -> int:
        """Exit code of a command that ends with this verdict."""
        return EXIT_CODES[self.verdict]


def worst(outcomes: Sequence[StageVerdict]) -> int:
    """The exit code for many stages: a divergence takes precedence over what could not be tried."""
    codes = {outcome.exit_code for outcome in outcomes}
    return next((code for code in (1, 2, 3) if code in codes), 0)


def refused(stage: str, error: WorkbenchError) -> StageVerdict:
    """The outcome of a stage that could not be repeated."""
    verdict: ReproductionVerdict = "INPUTS-CHANGED" if isinstance(error, InputsChanged) else "CANNOT-RUN"
    where = f" ({error.where})" if error.where else ""
    return StageVerdict(stage, verdict, f"{error.what}{where}", error.fix)


def lines(outcome: StageVerdict) -> list[str]:
    """The outcome for a terminal."""
    found = [f"{outcome.stage}: {outcome.verdict}: {outcome.reason}"]
    found += [f"  {path}: {_join(path, gap)}" for path, gaps in outcome.outputs.items() for gap in gaps]
    if outcome.step is not None:
        found.append(f"  training: the logs part at step {outcome.step}")
    found += [f"  metric {_metric(pair)}" for pair in outcome.metrics if pair.original != pair.repeated]
    found += [f"  machine: {text}" for text in outcome.machine]
    return [*found, f"  fix: {outcome.fix}"] if outcome.fix else found


def report(outcome: StageVerdict) -> str:
    """The outcome as a Markdown page."""
    page = [f"# {outcome.verdict}: {outcome.stage}", "", f"{outcome.reason}.", ""]
    if outcome.fix:
        page += [f"To mend it: {outcome.fix}.", ""]
    if outcome.outputs:
        rows = [f"| `{path}` | {'; '.join(map(_cell, gaps)) or 'same bytes'} |" for path, gaps in outcome.outputs.items()]
        page += ["| output | difference |", "|---|---|", *rows, ""]
    if outcome.step is not None:
        page += [f"The training logs part at step {outcome.step}.", ""]
    if outcome.metrics:
        names = ["| metric | original | repeated | difference | allowed |", "|---|---|---|---|---|"]
        page += [*names, *map(_row, outcome.metrics), ""]
    page += [f"- Another machine: {text}" for text in outcome.machine]
    return "\n".join(page).rstrip() + "\n"


def _join(path: str, gap: Difference) -> str:
    return str(gap) or f"{path} differs"


def _cell(gap: Difference) -> str:
    return str(gap).replace("|", "\\|").replace("\n", " ") or "its bytes differ"


def _row(pair: MetricPair) -> str:
    gap = pair.repeated - pair.original
    return f"| {pair.name} | {pair.original:.6g} | {pair.repeated:.6g} | {gap:+.3g} | {pair.allowed:.3g} |"


def _metric(pair: MetricPair) -> str:
    noise = "within" if pair.within else "beyond"
    return f"{pair.name}: {pair.original:.6g}, then {pair.repeated:.6g}, {noise} the noise of {pair.allowed:.3g}"
