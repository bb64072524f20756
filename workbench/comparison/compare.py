"""The differences between two sides, stage by stage: configuration and code, data, metrics, and scores over shared examples."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from workbench.answers import RecordedStage
from workbench.comparison import scores
from workbench.comparison.scores import ScoreChange
from workbench.comparison.side import Side, find
from workbench.planning import causes
from workbench.project.dvc import stored

REPORT = "report"
"""The stage whose metrics repeat those of the evaluations."""
Only = Literal["", "A", "B"]


@dataclass(frozen=True)
class MetricChange:
    """A metric whose values differ; the value of a side that lacks it is None."""

    name: str
    before: float | None
    after: float | None


@dataclass(frozen=True)
class StageChange:
    """What differs in one stage."""

    stage: str
    """``A → B`` where two runs of differently named stages are compared."""
    only: Only = ""
    """The side that alone has the stage; empty if both have it."""
    config: Sequence[str] = ()
    """Differences of configuration, seed, plugins, code and dependencies, in words."""
    inputs: Sequence[str] = ()
    """Paths that both read, with different bytes."""
    outputs: Sequence[str] = ()
    """Paths that both wrote, with different bytes."""
    metrics: Sequence[MetricChange] = ()
    """Those that differ."""
    score: ScoreChange | None = None
    """The difference in score over the shared examples, if both sides have per-example results that differ."""
    note: str = ""
    """Why an expected comparison of examples is missing."""
    stale: Sequence[str] = ()
    """What the results are stale of, side by side: what the files of ``A`` or ``B`` ask for is not what made them."""

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not (self.only or self.config or self.inputs or self.outputs or self.metrics)


@dataclass(frozen=True)
class Comparison:
    """The whole comparison."""

    before: str
    after: str
    stages: Sequence[StageChange]
    packages: Sequence[tuple[str, str, str]]
    """Distribution, version before, version after; ``absent`` for none."""
    pinned: bool
    """Whether the environments of both are known."""
    unknown: Sequence[str] = ()
    """Sides of which it is not known whether their results are stale, and why."""


def compare(main: Path, before: str, after: str) -> Comparison:
    """Compare two things by their names; see :func:`workbench.comparison.side.find`.

    Raises:
        WorkbenchError: one of them is unknown or lacks a result.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first, second = find(main, before, folder / "before"), find(main, after, folder / "after")
        parts = {**first.parts, **second.parts}
        stages = [
            replace(_Pair(main, old, new, parts, folder).change(), stale=[*_stale("A", first, old), *_stale("B", second, new)])
            for old, new in _pairs(first, second)
        ]
    pinned = bool(first.pins and second.pins)
    packages = list(_packages(first.pins, second.pins)) if pinned else []
    unknown = [f"{letter}: {side.unknown}" for letter, side in (("A", first), ("B", second)) if side.unknown]
    return Comparison(first.name, second.name, stages, packages, pinned, unknown)


def _stale(letter: str, side: Side, stage: RecordedStage | None) -> Iterator[str]:
    if stage is not None and (reasons := side.stale.get(stage.stage)):
        yield f"{letter}: {'; '.join(reasons)}"


def _pairs(first: Side, second: Side) -> Iterator[tuple[RecordedStage | None, RecordedStage | None]]:
    """The stages of both by name; where each side is one stage's run, those two."""
    if first.is_one_run and second.is_one_run:
        yield from zip(first.stages.values(), second.stages.values(), strict=True)
        return
    if first.is_one_run or second.is_one_run:  # against a pipeline
        (name,) = (first if first.is_one_run else second).stages
        yield first.stages.get(name), second.stages.get(name)
        return
    for name in dict.fromkeys([*first.stages, *second.stages]):
        yield first.stages.get(name), second.stages.get(name)


@dataclass(frozen=True)
class _Pair:
    main: Path
    old: RecordedStage | None
    new: RecordedStage | None
    parts: causes.Parts
    folder: Path

    def change(self) -> StageChange:
        old, new = self.old, self.new
        if old is None or new is None:
            known = old or new
            assert known is not None
            return StageChange(known.stage, only="A" if new is None else "B")
        score = self._score(old, new)
        return StageChange(
            stage=old.stage if old.stage == new.stage else f"{old.stage} → {new.stage}",
            config=list(causes.differences(old.lock, new.lock, self.parts)),
            inputs=_unlike(old.inputs, new.inputs),
            outputs=_unlike(old.outputs, new.outputs),
            metrics=[] if old.entry == REPORT else list(_metrics(old.metrics, new.metrics)),
            score=score if isinstance(score, ScoreChange) else None,
            note=score if isinstance(score, str) else "",
        )

    def _score(self, old: RecordedStage, new: RecordedStage) -> ScoreChange | str:
        """The comparison of an evaluation that both wrote; an empty string if there is none, or if the bytes are the same."""
        results = [
            (path, other)
            for path, other in zip(old.outputs, new.outputs, strict=False)
            if old.outputs[path] != new.outputs[other] and old.entry.startswith("eval.") and path != old.metrics_file
        ]
        if not results:
            return ""
        path, other = results[0]
        wanted = {"before": old.outputs[path], "after": new.outputs[other]}
        found = stored.fetch(self.main, wanted, self.folder / f"examples-{len(list(self.folder.iterdir()))}")
        if missing := [name for name in wanted if name not in found]:
            return f"no interval: the examples of {' and '.join(missing)} are neither in the cache nor at a remote (`dvc fetch`)"
        if not all(map(scores.is_evaluation, found.values())):
            return "no interval: there are no examples"
        said = scores.compare(found["before"], found["after"])
        return f"no interval: {said}" if isinstance(said, str) else said


def _unlike(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return [path for path, digest in old.items() if new.get(path, digest) != digest]


def _metrics(old: Mapping[str, float], new: Mapping[str, float]) -> Iterator[MetricChange]:
    for name in dict.fromkeys([*old, *new]):
        if old.get(name) != new.get(name):
            yield MetricChange(name, old.get(name), new.get(name))


def _packages(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    for name in sorted({*old, *new}, key=str.lower):
        if old.get(name) != new.get(name):
            yield name, old.get(name, "absent"), new.get(name, "absent")
