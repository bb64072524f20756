"""dvc.yaml as the workbench reads it: the entry and the paths of each stage."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from workbench.artifacts import yaml_1_2
from workbench.artifacts.formats import FOLDER
from workbench.errors import PipelineError
from workbench.kinds.stage import Stage
from workbench.lib.layout import LOCK_FILE
from workbench.project.dvc import template
from workbench.project.plugin_lock import Resolved

PIPELINE_FILE = Path("dvc.yaml")
_PREFIX = ("python", "-m", "workbench")


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
        PipelineError: the file is missing, is not YAML, or names an unknown parameter.
    """
    file = root / name
    if not file.is_file():
        raise PipelineError(f"{PIPELINE_FILE} is missing", str(root.resolve()), "run in the folder that holds dvc.yaml")
    try:
        content = yaml_1_2.load(file.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise PipelineError(f"not YAML: {error}", str(PIPELINE_FILE), "mend the file") from error
    calls = [_call(address, stage) for address, stage in template.expand(root, content).items()]
    return [call for call in calls if call is not None]


def check(root: Path, calls: Sequence[StageCall], resolved: Sequence[Resolved]) -> None:
    """Refuse a dvc.yaml that disagrees with its commands, inputs that nothing makes, and a chain whose formats do not fit.

    Raises:
        PipelineError: names the stage, the option or the path, and the fix.
    """
    stages = {item.entry.address: item.stage for item in resolved}
    for call in calls:
        if call.entry not in stages:
            fix = f"add the section to params.yaml or remove the stage; there is {', '.join(stages)}"
            raise PipelineError(f"it runs {call.entry!r}, which params.yaml lacks", _where(call), fix)
        require_inside(root, call.outs, _where(call))
        _check_flows(call, stages[call.entry])
        _check_lists(call, stages[call.entry])
    _check_origins(root, calls)
    _check_formats(calls, stages)


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
    for flow in known:
        if flow not in call.flows and flow not in stage.optional:
            raise PipelineError(
                f"the command lacks --{flow.replace('_', '-')}", _where(call), f"add --{flow.replace('_', '-')} PATH"
            )


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


def _check_formats(calls: Sequence[StageCall], stages: Mapping[str, Stage[Any]]) -> None:
    made = {
        call.flows[flow]: (stages[call.entry].produced(flow), call)
        for call in calls
        for flow in stages[call.entry].outputs
        if flow in call.flows
    }
    for call in calls:
        for flow, wanted in stages[call.entry].inputs.items():
            path = call.flows.get(flow)
            if wanted == FOLDER or path not in made:
                continue
            format_, maker = made[path]
            if format_ != wanted:
                stage = stages[call.entry]
                raise PipelineError(
                    f"{stage.kind} {stage.name!r} reads {wanted}, and {path} is {format_}, made by {maker.address}",
                    _where(call),
                    f"in params.yaml set {call.entry}.{flow} to a path of format {wanted}",
                )


def _where(call: StageCall) -> str:
    return f"{PIPELINE_FILE}, stage {call.address}"


def _call(address: str, body: Mapping[str, Any]) -> StageCall | None:
    words = shlex.split(str(body.get("cmd", "")))
    if tuple(words[:4]) != (*_PREFIX, "run"):
        return None
    entry, options = words[4], words[5:]
    if len(options) % 2 or not all(option.startswith("--") for option in options[::2]):
        raise PipelineError(
            "the command is not `run ENTRY --FLOW PATH …`", f"{PIPELINE_FILE}, stage {address}", "give every option one path"
        )
    flows = {option[2:].replace("-", "_"): path for option, path in zip(options[::2], options[1::2], strict=True)}
    outs = tuple(_path(item) for key in ("outs", "metrics") for item in body.get(key, ()))
    keys = tuple(
        key for item in body.get("params", ()) for key in (item.get(str(LOCK_FILE), ()) if isinstance(item, dict) else [item])
    )
    return StageCall(address, entry, flows, tuple(body.get("deps", ())), outs, keys)


def _path(item: object) -> str:
    return str(next(iter(item))) if isinstance(item, dict) else str(item)
