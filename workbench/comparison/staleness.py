"""Stale results: those that a side still has although its files ask for others, or have no such stage any more."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

from workbench.artifacts import dvc_lock, yaml_1_2
from workbench.lib.layout import LOCK_FILE
from workbench.planning import causes, plan
from workbench.project.dvc import template
from workbench.project.params import PARAMS_FILE
from workbench.project.pipeline import PIPELINE_FILE

Stale = Mapping[str, tuple[str, ...]]
"""DVC's name of a stage with a result → what it is stale of, in words; empty where it is not."""
GONE = ("dvc.yaml no longer has it",)


def of_workspace(root: Path, locked: dvc_lock.Stages) -> Stale:
    """By what a ``dvc repro`` would run again.

    Raises:
        WorkbenchError: ``workbench check`` finds something wrong.
    """
    with chdir(root):
        found = plan.stale(root)
    return {stage: found.get(stage, GONE) for stage in locked}


def of_commit(read: Callable[[str], str], locked: dvc_lock.Stages, folder: Path) -> Stale:
    """By the commit's own files: dvc.yaml and params.yaml, plugins-lock.json, and the hashes in dvc.lock.

    Args:
        read: gives the text of a file of the commit, empty where it has none.
        locked: its dvc.lock.
        folder: a new folder, for DVC to read dvc.yaml in.

    Raises:
        WorkbenchError: DVC cannot read the commit's dvc.yaml.
    """
    folder.mkdir()
    for name in (PIPELINE_FILE, PARAMS_FILE):
        (folder / name).write_text(read(str(name)), encoding="utf-8")
    wanted = template.expand(folder, yaml_1_2.load(read(str(PIPELINE_FILE))) or {})
    content = json.loads(read(str(LOCK_FILE)) or '{"stages": {}}')
    parts = causes.parts_of([content])
    outs = {stage: dvc_lock.hashes(record, "outs") for stage, record in locked.items()}
    makers = {path: (stage, digest) for stage, made in outs.items() for path, digest in made.items()}
    return {
        stage: tuple(_reasons(record, wanted[stage], content["stages"], parts, makers)) if stage in wanted else GONE
        for stage, record in locked.items()
    }


def _reasons(
    record: Mapping[str, Any],
    wanted: Mapping[str, Any],
    entries: Mapping[str, Any],
    parts: causes.Parts,
    makers: Mapping[str, tuple[str, str]],
) -> Iterator[str]:
    if record["cmd"] != wanted.get("cmd"):
        yield "its command in dvc.yaml has changed"
    for key, old in record.get("params", {}).get(str(LOCK_FILE), {}).items():
        new: Any = {"stages": entries}
        for part in key.split("."):
            new = new.get(part) if isinstance(new, Mapping) else None
        if new is None:
            yield f"{LOCK_FILE} no longer has {key}"
        elif new != old:
            yield from causes.differences(old, new, parts)
    for path, digest in dvc_lock.hashes(record, "deps").items():
        maker, made = makers.get(path, ("", digest))
        if made != digest:
            yield f"{maker} has made {path} anew since"
