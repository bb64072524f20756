"""dvc.yaml as the workbench reads it: the entry and the paths of each stage."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from workbench.artifacts import unreadable, yaml_1_2
from workbench.artifacts.formats import FOLDER
from workbench.errors import PipelineError
from workbench.kinds.stage import Stage
from workbench.lib.layout import LOCK_FILE
from workbench.project.dvc import template
from workbench.project.params import Entry
from workbench.project.plugin_lock import Resolved

PIPELINE_FILE = Path("dvc.yaml")
_RUN = ("python", "-m", "workbench", "run")
_RUNS = re.compile(r"\bworkbench['\"]?\s+['\"]?run\b")
"""A command that runs a stage in whatever way: through a shell, by another interpreter, by the script ``workbench``."""


@dataclass(frozen=True)
class StageCall:
    """One stage of dvc.yaml whose command is ``python -m workbench run ENTRY --FLOW PATH …``."""

    address: str
    """DVC's name for it, such as ``eval-perplexity@base``."""
    entry: str
    flows: Mapping[str, str]
    """Every option of the command: flow → path."""
    deps: tuple[str, ...]
    outs: tuple[str, ...]
    """Outputs and metrics."""
    params: tuple[str, ...]
    """Keys of plugins-lock.json."""


def load(root: Path, name: Path = PIPELINE_FILE) -> list[StageCall]:
    """Read dvc.yaml with the values of params.yaml filled in; stages that run other commands are left out.

    Args:
        root: the folder that holds both files.
        name: of dvc.yaml, where a record keeps it under another.

    Raises:
        PipelineError: the file is missing, is not YAML, names an unknown parameter, or runs an entry by another command.
    """
    file = root / name
    if not file.is_file():
        raise PipelineError(f"{PIPELINE_FILE} is missing", str(root.resolve()), "run in the folder that holds dvc.yaml")
    text = file.read_text(encoding="utf-8", errors="replace")
    try:
        content = yaml_1_2.load_unique(text) or {}
    except yaml.YAMLError as error:
        what, fix = unreadable.explain(PIPELINE_FILE.name, text, f"not YAML: {error}", "mend the file")
        raise PipelineError(what, str(PIPELINE_FILE), fix) from error
    calls = [_call(address, stage) for address, stage in template.expand(root, content).items()]
    return [call for call in calls if call is not None]


def check(root: Path, calls: Sequence[StageCall], resolved: Sequence[Resolved]) -> None:
    """Refuse a dvc.yaml that disagrees with its commands, inputs that nothing makes, and a chain whose formats do not fit.

    Raises:
        PipelineError: names the stage, the option or the path, and the fix.
    """
    stages = {item.entry.address: item.stage for item in resolved}
    entries = {item.entry.address: item.entry for item in resolved}
    for call in calls:
        if call.entry not in stages:
            fix = f"add the section to params.yaml or remove the stage; there is {', '.join(stages)}"
            raise PipelineError(f"it runs {call.entry!r}, which params.yaml lacks", _where(call), fix)
        require_inside(root, call.outs, _where(call))
        _check_flows(call, stages[call.entry])
        _check_lists(call, stages[call.entry])
        _check_inputs(call, stages[call.entry], entries[call.entry])
    _check_origins(root, calls)
    _check_formats(calls, stages, entries)


def require_inside(root: Path, outs: Iterable[str | Path], where: str) -> None:
    """Refuse outputs outside the workspace, or the workspace itself: DVC would delete what is there without keeping it.

    Links are not followed: a folder of the workspace may lie on another disk.

    Raises:
        PipelineError: names the path.
    """
    top = Path(os.path.abspath(root))  # noqa: PTH100 - resolve() would follow the links
    for out in outs:
        if top not in Path(os.path.abspath(top / out)).parents:  # noqa: PTH100
            raise PipelineError(f"it writes {out}, outside the workspace", where, f"give a path below {PIPELINE_FILE}'s folder")


def _check_origins(root: Path, calls: Sequence[StageCall]) -> None:
    made = [Path(out) for call in calls for out in call.outs]
    for call in calls:
        for dep in map(Path, call.deps):
            related = any(out == dep or out in dep.parents or dep in out.parents for out in made)
            if not related and not (root / dep).exists():
                fix = "add the entry of params.yaml whose stage makes it, or correct the path"
                raise PipelineError(f"it reads {dep}, which no stage makes and which does not exist", _where(call), fix)


def _check_flows(call: StageCall, stage: Stage[Any]) -> None:
    known = [*stage.inputs, *stage.outputs, "metrics"]
    for flow in call.flows:
        if flow not in known:
            fix = f"its options are {', '.join('--' + name.replace('_', '-') for name in known)}"
            raise PipelineError(f"{stage.kind} {stage.name!r} lacks the option --{flow}", _where(call), fix)
    unneeded = frozenset(stage.inputs) - stage.needed()
    for flow in known:
        if flow not in call.flows and flow not in unneeded:
            option = f"--{flow.replace('_', '-')}"
            asked = f", which {call.entry}.with in params.yaml asks for" if flow in stage.optional else ""
            raise PipelineError(f"the command lacks {option}{asked}", _where(call), f"add {option} PATH")


def _check_lists(call: StageCall, stage: Stage[Any]) -> None:
    for flow, path in call.flows.items():
        listed, name = (call.deps, "deps") if flow in stage.inputs else (call.outs, "metrics" if flow == "metrics" else "outs")
        if path not in listed:
            raise PipelineError(f"the command's --{flow} {path} is not under {name}", _where(call), f"add {path} to {name}")
    used = set(call.flows.values())
    for path in (*call.deps, *call.outs):
        if path not in used:
            raise PipelineError(
                f"{path} is listed, and the command does not name it", _where(call), "remove it or add its option"
            )
    if call.params != (f"stages.{call.entry}",):
        fix = f'write `params: [{{{LOCK_FILE}: ["stages.{call.entry}"]}}]` and nothing else'
        raise PipelineError(f"its params are {list(call.params)}", _where(call), fix)


def _check_inputs(call: StageCall, stage: Stage[Any], entry: Entry) -> None:
    """Refuse a path of params.yaml that dvc.yaml does not read, and two inputs that are the same data."""
    read: dict[str, str] = {}
    for flow in stage.inputs:
        path, wanted = call.flows.get(flow), entry.others.get(flow)
        if wanted is not None and path != wanted:
            what = f"params.yaml says {call.entry}.{flow}: {wanted}, and dvc.yaml reads {path or 'nothing'} there"
            fix = f"write ${{{call.entry}.{flow}}} for the path in dvc.yaml, in the command and under deps, or remove the key"
            raise PipelineError(what, _where(call), fix)
        if path is None:
            continue
        if (same := read.setdefault(os.path.normpath(path), flow)) != flow:
            what = f"--{same} and --{flow} both read {path}"
            raise PipelineError(
                what, _where(call), "give each its own data: what is measured on one would be known from the other"
            )


def _check_formats(calls: Sequence[StageCall], stages: Mapping[str, Stage[Any]], entries: Mapping[str, Entry]) -> None:
    """Refuse an input that an earlier stage makes in another format, and one that is a part of what is made, or around it."""
    made = {
        os.path.normpath(call.flows[flow]): (stages[call.entry].produced(flow), call)
        for call in calls
        for flow in stages[call.entry].outputs
        if flow in call.flows
    }
    for call in calls:
        for flow, wanted in stages[call.entry].inputs.items():
            if wanted == FOLDER or flow not in call.flows:
                continue
            path = os.path.normpath(call.flows[flow])
            read = f"{stages[call.entry].kind} {stages[call.entry].name!r} reads {wanted}"
            set_here = flow in entries[call.entry].others
            key = f"{call.entry}.{flow} in params.yaml" if set_here else f"the path of --{flow.replace('_', '-')} in dvc.yaml"
            for out, (format_, maker) in made.items():
                if out == path and format_ != wanted:
                    what = f"{read}, and {path} is {format_}, made by {maker.address}"
                    raise PipelineError(what, _where(call), f"set {key} to what a stage makes as {wanted}")
                if Path(path) in Path(out).parents or Path(out) in Path(path).parents:
                    what = f"{read}, and {path} is no output: {maker.address} makes {out}"
                    raise PipelineError(what, _where(call), f"set {key} to {out}, or to what another stage makes as {wanted}")


def _where(call: StageCall) -> str:
    return f"{PIPELINE_FILE}, stage {call.address}"


def _call(address: str, body: Mapping[str, Any]) -> StageCall | None:
    command, where = body.get("cmd", ""), f"{PIPELINE_FILE}, stage {address}"
    if not _RUNS.search(str(command)):
        return None
    try:
        words = shlex.split(command) if isinstance(command, str) else []
    except ValueError as error:
        raise PipelineError(f"its command cannot be read: {error}", where, "close the quotes") from error
    if tuple(words[: len(_RUN)]) != _RUN or len(words) == len(_RUN):
        what = f"it runs an entry by another command than `{' '.join(_RUN)} ENTRY`: nothing could hold it to params.yaml"
        raise PipelineError(
            what, where, f"write `cmd: {' '.join(_RUN)} ENTRY --FLOW PATH …`, and other commands as stages of their own"
        )
    entry, options = words[len(_RUN)], words[len(_RUN) + 1 :]
    if len(options) % 2 or not all(option.startswith("--") for option in options[::2]):
        raise PipelineError("the command is not `run ENTRY --FLOW PATH …`", where, "give every option one path")
    flows = {option[2:].replace("-", "_"): path for option, path in zip(options[::2], options[1::2], strict=True)}
    if len(flows) < len(options) // 2:
        raise PipelineError("the command names an option twice", where, "give each option once")
    outs = tuple(_path(item) for key in ("outs", "metrics") for item in body.get(key, ()))
    keys = tuple(
        key for item in body.get("params", ()) for key in (item.get(str(LOCK_FILE), ()) if isinstance(item, dict) else [item])
    )
    return StageCall(address, entry, flows, tuple(body.get("deps", ())), outs, keys)


def _path(item: object) -> str:
    return str(next(iter(item))) if isinstance(item, dict) else str(item)
