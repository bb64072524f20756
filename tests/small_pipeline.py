"""Pipelines of a few stages, written as flows and paths, in a workspace without git."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import workspace
from workspace import Workspace

from workbench.testing.project import Content

LOCK = "plugins-lock.json"
NOT_CACHED = {"cache": False}
RESOLVE = {"cmd": "python -m workbench resolve", "always_changed": True, "outs": [{LOCK: {**NOT_CACHED, "persist": True}}]}
DVC_CONFIG = "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n"


def stage(entry: str, reads: Mapping[str, str], writes: Mapping[str, str], metrics: str) -> dict[str, Any]:
    """A stage of dvc.yaml, of the entry's address in params.yaml and of flow → path."""
    flows = " ".join(f"--{flow} {path}" for flow, path in {**reads, **writes, "metrics": metrics}.items())
    return {
        "cmd": f"python -m workbench run {entry} {flows}",
        "params": [{LOCK: [f"stages.{entry}"]}],
        "deps": list(reads.values()),
        "outs": list(writes.values()),
        "metrics": [{metrics: NOT_CACHED}],
    }


def each(section: str, reads: Mapping[str, str], writes: Mapping[str, str], metrics: str) -> dict[str, Any]:
    """A stage for each key of a section of params.yaml; ``${key}`` stands for it in paths."""
    return {"foreach": f"${{{section}}}", "do": stage(f"{section}.${{key}}", reads, writes, metrics)}


def create(
    root: Path,
    stages: Mapping[str, Any],
    params: Mapping[str, Any],
    files: Mapping[str, Content] | None = None,
    *,
    site: Path | None = None,
    own_core: bool = True,
    **compute: Any,
) -> Workspace:
    """Make the workspace; nothing has run in it.

    Args:
        root: its folder.
        stages: those of dvc.yaml beside ``resolve``.
        params: params.yaml.
        files: further files.
        site: folder of installed distributions that its commands see.
        own_core: whether it runs a copy of the core, which a test may change.
        compute: what compute.yaml says beside one thread and no trackers.
    """
    Workspace.create(
        root,
        {
            ".dvc/config": DVC_CONFIG,
            "dvc.yaml": {"stages": {"resolve": RESOLVE, **stages}},
            "params.yaml": params,
            "compute.yaml": {"trackers": [], "threads": 1, **compute},
            **(files or {}),
        },
    )
    if own_core:
        shutil.copytree(workspace.PROJECT / "workbench", root / "workbench", ignore=workspace.IGNORED)
    path = [str(site)] if site else []
    return Workspace.at(root, PYTHONPATH=os.pathsep.join([*path, *filter(None, [os.environ.get("PYTHONPATH")])]))
