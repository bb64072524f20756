"""``workbench promote``: the registered model called champion changes only when an evaluation shows that another is better."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.answers import CANDIDATE, CHAMPION, Evaluated, Version
from workbench.comparison import scores
from workbench.comparison.page import interval
from workbench.comparison.scores import ScoreChange
from workbench.errors import WorkbenchError
from workbench.hosting import trackers
from workbench.project.dvc import stored

_WHERE = "workbench promote"


@dataclass(frozen=True)
class Contest:
    """A candidate compared with the champion."""

    candidate: Version
    champion: Version | None
    results: Mapping[str, ScoreChange | str]
    """Evaluation → difference, or why there is none."""
    deciding: str
    """The evaluation that decides; the others can only veto."""

    @property
    def scored(self) -> dict[str, ScoreChange]:
        """The evaluations with a difference."""
        return {name: found for name, found in self.results.items() if isinstance(found, ScoreChange)}


def contest(main: Path, number: str = "", deciding: str = "") -> Contest:
    """Compare a version with the champion, evaluation by evaluation, over the examples that both have.

    Args:
        main: the workspace.
        number: of the version; empty for the one with alias ``candidate``.
        deciding: an evaluation; empty if there is only one.

    Raises:
        WorkbenchError: there is no such version or evaluation, or the version is champion already.
    """
    _, versions = _registry(main)
    candidate = _find(versions, number)
    champion = _champion(versions)
    if champion == candidate:
        raise WorkbenchError(f"{candidate} is the champion already", _WHERE, "name another version, or make a better one")
    known = sorted({result.name for result in candidate.evaluations})
    if not known:
        raise WorkbenchError(
            f"{candidate} was never evaluated", _WHERE, "run `dvc repro`, which evaluates the model that it makes"
        )
    if deciding not in known and (deciding or (champion and len(known) != 1)):
        what = f"no evaluation is called {deciding!r}" if deciding else "several evaluations could decide"
        fix = f"name, before you look at results, the one that counts: `--on NAME`, of {', '.join(known)}"
        raise WorkbenchError(what, _WHERE, fix)
    results = {} if champion is None else dict(_results(main, champion, candidate))
    return Contest(candidate, champion, results, deciding or known[0])


def lines(found: Contest) -> Iterator[str]:
    """The contest as text."""
    yield f"candidate  {found.candidate}"
    if found.champion is None:
        yield "champion   none yet"
        return
    yield f"champion   {found.champion}"
    yield from ("", "candidate − champion with the 95 % interval over the same examples")
    width = max(map(len, found.results), default=0)
    for name, result in found.results.items():
        decides = "  (decides)" if name == found.deciding else ""
        if isinstance(result, str):
            yield f"  {name:{width}}  {result}{decides}"
        else:
            figures = f"{result.score}  {result.before:.4g} → {result.after:.4g}  {interval(result)}"
            yield f"  {name:{width}}  {figures}  {result.verdict}{decides}"


def promote(main: Path, found: Contest) -> str:
    """Move the alias ``champion`` to the candidate; says what was done.

    Raises:
        WorkbenchError: the candidate is not shown to be better.
    """
    reason = _reason(found)
    _move(main, found.candidate, reason, found.champion, None)
    before = f"; before, {found.champion} was: `workbench promote --rollback` goes back to it" if found.champion else ""
    return f"champion is {found.candidate}{before}"


def roll_back(main: Path) -> str:
    """Give the alias back to the version that was champion when the present one was promoted; says what was done.

    Raises:
        WorkbenchError: there was none, or the alias was not given by a promotion, so that nobody knows.
    """
    _, versions = _registry(main)
    champion = _champion(versions)
    where = f"{_WHERE} --rollback"
    if champion is None:
        raise WorkbenchError("there is no champion", where, "`workbench promote` makes one")
    if champion.crowned is None:
        promoted = sorted((version for version in versions if version.crowned), key=lambda version: version.crowned or 0)
        last = f"; the last one that was promoted is {promoted[-1]}" if promoted else ""
        what = f"{champion} has its alias by hand or by a rollback, and nothing says which was champion before it{last}"
        raise WorkbenchError(what, where, f"move the alias {CHAMPION} by hand, in the page of {champion.model}")
    if not champion.before:
        raise WorkbenchError("there was no champion before", where, "`workbench promote` makes one")
    earlier = next((version for version in versions if version.number == champion.before), None)
    if earlier is None:
        what = f"version {champion.before}, which was champion before {champion}, is no longer registered"
        raise WorkbenchError(what, where, "`workbench promote` another version")
    _move(main, earlier, f"rolled back from {champion}", champion, champion)
    return f"champion is {earlier} again, no longer {champion}"


def _reason(found: Contest) -> str:
    if found.champion is None:
        return "the first champion; there was nothing to compare it with"
    result = found.results[found.deciding]
    worse = [name for name, score in found.scored.items() if score.verdict == "worse" and name != found.deciding]
    if isinstance(result, str):
        problem = f"{found.deciding} cannot decide: {result}"
    elif result.verdict != "better":
        problem = f"{found.deciding} does not show that the candidate is better: {result.verdict}"
    elif worse:
        problem = f"{found.deciding} shows that it is better, and {', '.join(worse)} that it is worse"
    else:
        return f"{found.deciding}: {result.score} {interval(result)}, against {found.champion}"
    raise WorkbenchError(problem, f"{_WHERE}, {found.candidate}", "the champion stays; more examples make the interval narrower")


def _results(main: Path, champion: Version, candidate: Version) -> Iterator[tuple[str, ScoreChange | str]]:
    """The result of every evaluation of the candidate, compared with the champion's."""
    for name in dict.fromkeys(result.name for result in candidate.evaluations):
        ours = [result for result in candidate.evaluations if result.name == name]
        theirs = {result.conditions: result for result in reversed(champion.evaluations)}
        pair = next(((theirs[mine.conditions], mine) for mine in ours if mine.conditions in theirs), None)
        if pair is None:
            yield name, "the champion was not evaluated so, with the same configuration and data"
        else:
            yield name, _score(main, *pair)


def _score(main: Path, before: Evaluated, after: Evaluated) -> ScoreChange | str:
    wanted = {"champion": before.digest, "candidate": after.digest}
    with tempfile.TemporaryDirectory() as folder:
        found = stored.fetch(main, wanted, Path(folder) / "examples")
        if missing := [name for name in wanted if name not in found]:
            return f"the examples of {' and '.join(missing)} are neither in the cache nor at a remote (`dvc fetch`)"
        return scores.compare(found["champion"], found["candidate"])


def _find(versions: Sequence[Version], number: str) -> Version:
    wanted = [version for version in versions if (version.number == number if number else CANDIDATE in version.aliases)]
    if not wanted:
        known = ", ".join(version.number for version in versions) or "none"
        what = f"there is no version {number}" if number else f"no version has the alias {CANDIDATE}"
        raise WorkbenchError(what, f"{_WHERE}, registered versions: {known}", "`dvc repro` registers the model that it makes")
    return wanted[0]


def _champion(versions: Sequence[Version]) -> Version | None:
    return next((version for version in versions if CHAMPION in version.aliases), None)


def _registry(main: Path) -> tuple[Any, list[Version]]:
    """The hooks of the first tracker with a registry, and the registry's versions."""
    for tracker in trackers.configured(main):
        hooks = trackers.hooks_of(tracker)
        with trackers.asked(tracker):
            found: list[Version] | None = hooks.model_versions(workspace=main)
        if found is not None:
            return hooks, found
    choices = " or ".join(f"`{name}`" for name in trackers.that_answer(main, "model_versions"))
    fix = f"put {choices or 'one that has a registry'} into trackers, then run `dvc repro`"
    raise WorkbenchError("no tracker with a registry has a store yet", "compute.yaml, key trackers", fix)


def _move(main: Path, to: Version, reason: str, before: Version | None, rolled_back: Version | None) -> None:
    hooks, _ = _registry(main)
    hooks.move_champion(workspace=main, to=to, reason=reason, before=before, rolled_back=rolled_back)
