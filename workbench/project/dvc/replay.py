"""Replays a ``dvc repro`` without running or changing anything: what it would do with each stage, in its order.

DVC's own ``repro --dry`` asks each stage on its own, so it does not see that an earlier stage will make other bytes.
Here every stage knows what those before it will have made: bytes that are there, bytes restored from the cache, or
bytes unknown until the stage has run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal

from workbench.errors import PipelineError
from workbench.lib.layout import LOCK_FILE
from workbench.project.dvc.workspace import open_repo

if TYPE_CHECKING:
    from dvc.dependency import ParamsDependency
    from dvc.output import Output
    from dvc.repo import Repo
    from dvc.stage import PipelineStage
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.meta import Meta
    from dvc_data.hashfile.tree import Tree

ChangeKind = Literal["new", "command", "parameter", "input", "awaited", "output"]


class Answer(StrEnum):
    """What a ``dvc repro`` would do with a stage."""

    UP_TO_DATE = "up to date"
    RUNS = "runs"
    IF_CHANGED = "runs if the bytes before it change"
    RESTORED = "restored from cache"


@dataclass(frozen=True)
class ChangeSinceRun:
    """One difference from the state in which the stage's result was made."""

    kind: ChangeKind
    """``input``: known to differ; ``awaited``: an earlier stage makes it first."""
    name: str = ""
    """The key of a parameter, or the path of an input or output."""
    before: Any = None
    after: Any = None
    """Values of a parameter or the command; of an input or output, what happened to it."""
    maker: str = ""
    """The stage that makes the input; empty if none or several do."""


@dataclass(frozen=True)
class StageOutcome:
    """The answer for one stage."""

    stage: str
    answer: Answer
    changes: tuple[ChangeSinceRun, ...] = ()
    always: bool = False
    """Whether it always runs, as ``always_changed`` in dvc.yaml asks."""


@dataclass(frozen=True)
class Bytes:
    """Content, by its DVC hash."""

    hash: HashInfo
    meta: Meta
    tree: Tree | None = None
    """The files of a folder, if known."""


@dataclass
class Made:
    """An output as it will be once its stage's turn is over."""

    path: PurePath
    stage: str
    answer: Answer
    bytes: Bytes | None
    """For a stage that runs: those of its last run, which may differ from those of the next."""

    def touches(self, path: PurePath) -> bool:
        """Whether the path is the output, holds it or lies in it."""
        return self.path == path or self.path in path.parents or path in self.path.parents


def replay(root: Path, proposed: Path, targets: Sequence[str] = ()) -> list[StageOutcome]:
    """What ``dvc repro TARGETS`` would do with each stage, in its order.

    Args:
        root: the workspace, which must be the current directory.
        proposed: a file with the content that ``resolve`` would give plugins-lock.json.
        targets: stages as DVC names them; none means the whole dvc.yaml.

    Raises:
        PipelineError: there is no such stage, or DVC cannot read the pipeline.
    """
    with open_repo(root) as repo:
        state = _State(repo, proposed)
        return [state.take(stage) for stage in _in_order(repo, targets)]


def _in_order(repo: Repo, targets: Sequence[str]) -> list[PipelineStage]:
    from dvc.repo.reproduce import get_active_graph, plan_repro
    from dvc.stage.exceptions import StageNotFound

    try:
        stages = _stages(repo, targets)
    except StageNotFound as error:
        names = ", ".join(stage.addressing for stage in repo.index.stages)
        raise PipelineError(f"no such stage: {', '.join(targets)}", "dvc.yaml", f"there are {names}") from error
    return list(plan_repro(get_active_graph(repo.index.graph), stages))


def _stages(repo: Repo, targets: Sequence[str]) -> list[PipelineStage]:
    """The stages that the targets name, from DVC's index if all are names of stages in dvc.yaml.

    DVC's own look-up knows groups, files and outputs as well; it reads dvc.yaml and dvc.lock once more, half the time of a plan.
    """
    from dvc.repo.reproduce import collect_stages
    from dvc.stage import PipelineStage

    known = {stage.addressing: stage for stage in repo.index.stages if isinstance(stage, PipelineStage)}
    here = [name for name, stage in known.items() if name == stage.name]  # names from another dvc.yaml begin with its path
    names = list(targets) or here
    if names and set(names) <= set(here):
        return [known[name] for name in dict.fromkeys(names)]
    found: list[PipelineStage] = collect_stages(repo, list(targets) or ["dvc.yaml"])
    return found


@dataclass
class _State:
    """The workspace as it will be when the next stage is reached."""

    repo: Repo
    proposed: Path
    made: list[Made] = field(default_factory=list)

    def take(self, stage: PipelineStage) -> StageOutcome:
        """Decide what happens to the stage, and remember its outputs."""
        _read_params_from(stage, self.proposed)
        if stage.always_changed or stage.is_callback:
            return self._leave(stage, StageOutcome(stage.addressing, Answer.RUNS, always=True), None)
        before = [*self._before(stage)]
        known = all(change.kind != "awaited" for change in before)
        outputs = [*_output_changes(stage)]
        differs = any(change.kind != "awaited" for change in before)
        if known and not before and not outputs:
            return self._leave(stage, StageOutcome(stage.addressing, Answer.UP_TO_DATE), None)
        record = _restorable(self.repo, stage, as_recorded=not differs) if differs or outputs else {}
        answer = Answer.RUNS if record is None else Answer.RESTORED if known else Answer.IF_CHANGED
        return self._leave(stage, StageOutcome(stage.addressing, answer, (*before, *outputs)), record)

    def _before(self, stage: PipelineStage) -> Iterator[ChangeSinceRun]:
        """What differs before the stage; its dependencies then hold what it will read, as far as that can be known."""
        if not any(out.hash_info for out in stage.outs):
            yield ChangeSinceRun("new")
        elif stage.changed_stage():
            yield ChangeSinceRun("command", after=stage.cmd)
        for dep in [] if stage.frozen else stage.deps:
            if _is_params(dep):
                yield from _param_changes(dep)
            else:
                yield from self._input_changes(dep)

    def _input_changes(self, dep: Output) -> Iterator[ChangeSinceRun]:
        path = PurePath(dep.fs_path)
        related = [made for made in self.made if made.touches(path)]
        awaited = [made.stage for made in related if made.answer in (Answer.RUNS, Answer.IF_CHANGED)]
        recorded = dep.hash_info
        moving = [made for made in related if made.answer is not Answer.UP_TO_DATE]
        now = self._bytes(dep, moving)
        if now is not None:
            dep.hash_info, dep.meta = now.hash, now.meta
        for stage in dict.fromkeys(awaited):
            yield ChangeSinceRun("awaited", str(dep), maker=stage)
        if not awaited if now is None else now.hash != recorded:
            happened = "missing" if now is None else "changed" if recorded else "new"
            yield ChangeSinceRun("input", str(dep), after=happened, maker=_only([made.stage for made in moving or related]))

    def _bytes(self, dep: Output, moving: Sequence[Made]) -> Bytes | None:
        """What the dependency will hold; None when it is not there or cannot be known."""
        path = PurePath(dep.fs_path)
        exact = next((made for made in moving if made.path == path), None)
        if exact is not None and exact.bytes is not None:
            return exact.bytes
        if not moving or exact is not None:
            return _of_workspace(dep)
        return _compose(self.repo, dep, moving)

    def _leave(self, stage: PipelineStage, outcome: StageOutcome, record: Mapping[str, Any] | None) -> StageOutcome:
        back = _cached_stage(self.repo, stage, record).outs if outcome.answer is Answer.RESTORED and record else []
        restored = {out.def_path: Bytes(out.hash_info, out.meta) for out in back}
        for out in stage.outs:
            last = restored.get(out.def_path) or (Bytes(out.hash_info, out.meta) if out.hash_info else None)
            self.made.append(Made(PurePath(out.fs_path), outcome.stage, outcome.answer, last))
        return outcome


def _only(names: Sequence[str]) -> str:
    return names[0] if len(set(names)) == 1 else ""


def _read_params_from(stage: PipelineStage, proposed: Path) -> None:
    """Read the stage's parameters from the proposed plugins-lock.json; records keep the name of the real file."""
    for dep in stage.deps:
        if _is_params(dep) and dep.def_path == str(LOCK_FILE):
            dep.fs_path = str(proposed)


def _is_params(dep: Output) -> bool:
    from dvc.dependency import ParamsDependency

    return isinstance(dep, ParamsDependency)


def _param_changes(dep: ParamsDependency) -> Iterator[ChangeSinceRun]:
    """The keys whose values differ; the dependency then holds the current values."""
    from dvc_data.hashfile.hash_info import HashInfo

    recorded = dict(dep.hash_info.value or {})
    now = dep.read_params()
    for key in dep.params or sorted({*recorded, *now}):
        if recorded.get(key) != now.get(key):
            yield ChangeSinceRun("parameter", key, recorded.get(key), now.get(key))
    dep.hash_info = HashInfo(dep.PARAM_PARAMS, now)


def _output_changes(stage: PipelineStage) -> Iterator[ChangeSinceRun]:
    for out in stage.outs:
        for status in out.status().values():
            yield ChangeSinceRun("output", str(out), after=status if out.hash_info else "new")


def _of_workspace(item: Output) -> Bytes | None:
    if not item.exists:
        return None
    # DVC's get_hash and get_meta in one, so that files are read once, and with the folder's listing.
    _, meta, found = item._build(  # noqa: SLF001
        item.local_cache, item.fs_path, item.fs, item.hash_name, ignore=item.dvcignore, dry_run=True
    )
    return Bytes(found.hash_info, meta, found if found.hash_info.isdir else None)


def _compose(repo: Repo, dep: Output, moving: Sequence[Made]) -> Bytes | None:
    """The dependency's content where it is a folder that holds outputs, or a part of one."""
    from dvc_data.hashfile.meta import Meta
    from dvc_data.hashfile.tree import Tree

    root = PurePath(dep.fs_path)
    files = {root.joinpath(*key): value for key, value in _files(repo, _of_workspace(dep))}
    for made in moving:
        if made.bytes is None:
            return None
        files = {path: value for path, value in files.items() if path != made.path and made.path not in path.parents}
        files |= {made.path.joinpath(*key): value for key, value in _files(repo, made.bytes)}
    if root in files:
        return files[root]
    tree = Tree()
    for path, value in files.items():
        if root in path.parents:
            tree.add(path.relative_to(root).parts, value.meta, value.hash)
    tree.digest()
    return Bytes(tree.hash_info, Meta(isdir=True)) if len(tree) else None


def _files(repo: Repo, content: Bytes | None) -> Iterator[tuple[tuple[str, ...], Bytes]]:
    """The files of a content: position below it, none for a file that is the content itself."""
    from dvc_data.hashfile.tree import Tree
    from dvc_objects.errors import ObjectFormatError

    if content is None:
        return
    if not content.hash.isdir:
        yield (), content
        return
    try:
        tree = content.tree or Tree.load(repo.cache.local, content.hash)
    except (FileNotFoundError, ObjectFormatError):
        return
    for key, meta, found in tree:
        yield key, Bytes(found, meta)


def _restorable(repo: Repo, stage: PipelineStage, *, as_recorded: bool) -> Mapping[str, Any] | None:
    """The record of a result for what the stage's dependencies hold, all of whose outputs are in the cache.

    The rules are those of :meth:`dvc.stage.cache.StageCache.restore`.
    """
    from dvc.stage.serialize import to_single_stage_lockfile

    if not _has_run_cache(stage):
        return None
    if as_recorded and all(out.hash_info for out in stage.outs):
        record: Mapping[str, Any] | None = to_single_stage_lockfile(stage)
    else:
        record = _newest_result(repo, stage)
    return record if record and _cached_stage(repo, stage, record).outs_cached() else None


def _has_run_cache(stage: PipelineStage) -> bool:
    shared = all(out.protocol == "local" and out.def_path and not out.persist and out.is_in_repo for out in stage.outs)
    complete = all(dep.protocol == "local" and dep.def_path and dep.hash_info for dep in stage.deps)
    return bool(stage.cmd and stage.deps and stage.outs and shared and complete)


def _newest_result(repo: Repo, stage: PipelineStage) -> Mapping[str, Any] | None:
    from dvc.stage.cache import _get_cache_hash  # what the run cache's folders are named by
    from dvc.stage.serialize import to_single_stage_lockfile
    from dvc.utils.serialize import load_yaml

    key = _get_cache_hash(to_single_stage_lockfile(stage), key=True)
    folder = Path(repo.stage_cache.cache_dir, key[:2], key)
    results = sorted(folder.iterdir(), key=os.path.getmtime) if folder.is_dir() else []
    if not results:
        return None
    record: Mapping[str, Any] = load_yaml(str(results[-1]))
    return record


def _cached_stage(repo: Repo, stage: PipelineStage, record: Mapping[str, Any]) -> PipelineStage:
    return repo.stage_cache._create_stage(record, wdir=stage.wdir)  # noqa: SLF001 - as DVC restores
