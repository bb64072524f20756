"""Checks of the files that people and commands write: each is read as the commands read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import yaml

from workbench.artifacts import dvc_lock, unreadable, yaml_1_2
from workbench.commands.doctor.check import Check
from workbench.errors import PipelineError, WorkbenchError
from workbench.lib import compute
from workbench.lib.layout import LOCK_FILE
from workbench.project import params, pipeline, plugin_lock


def _pipeline(root: Path) -> None:
    """Whether it is YAML; what its values stand for, only DVC knows, which takes long to import."""
    try:
        yaml_1_2.load((root / pipeline.PIPELINE_FILE).read_bytes())
    except yaml.YAMLError as error:
        raise PipelineError(f"not YAML: {error}", str(pipeline.PIPELINE_FILE), "mend the file") from error


_READERS: Mapping[Path, Callable[[Path], object]] = {
    params.PARAMS_FILE: params.load,
    compute.COMPUTE_FILE: compute.load_config,
    pipeline.PIPELINE_FILE: _pipeline,
    LOCK_FILE: plugin_lock.read_outs,
    dvc_lock.FILE: dvc_lock.stages,
}


def readable(root: Path) -> Iterator[Check]:
    """Whether each file of the project can be read."""
    there = [name for name in _READERS if (root / name).is_file()]
    broken = [error for name in there if (error := _problem(root, name)) is not None]
    for error in broken:
        yield Check("files", "fail", f"{error.where}: {error.what}", error.fix)
    if not broken:
        yield Check("files", "ok", f"{', '.join(map(str, there))} can be read" if there else "there is no pipeline here")


def _problem(root: Path, name: Path) -> WorkbenchError | None:
    """Why a file cannot be read; None if it can, or another is at fault, which it needs."""
    text = (root / name).read_text(encoding="utf-8", errors="replace")
    if unreadable.conflict(text):
        what, fix = unreadable.explain(name.name, text, "", "")
        return WorkbenchError(what, str(name), fix)
    try:
        _READERS[name](root)
    except WorkbenchError as error:
        return error if error.where.startswith(str(name)) else None
    return None
