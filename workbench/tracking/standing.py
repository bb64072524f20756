"""Which results of dvc.lock are still valid for the current inputs and parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.artifacts import dvc_lock
from workbench.artifacts.dvc_lock import Stages


def stale(stages: Stages, before: Stages, broken: set[str], folder: Path) -> set[str]:
    """Stages whose record no longer matches their current inputs, and the stages that read their outputs.

    A folder that several stages write into has no hash of its own among the outputs; a stage that reads it counts as stale if
    one of the outputs in it has changed in this session, and the reader's own record has not.

    Args:
        stages: those of dvc.lock.
        before: the same when the session began.
        broken: stages that did not end well, so that their recorded outputs do not count.
        folder: holds the plugins-lock.json to compare with; without one, parameters are not compared.
    """
    made = {path: digest for stage in stages.values() for path, digest in dvc_lock.hashes(stage, "outs").items()}
    keys = _locked_keys(folder)
    known = {path: digest for stage in before.values() for path, digest in dvc_lock.hashes(stage, "outs").items()}
    moved_in = [path for path, digest in made.items() if known.get(path) != digest]
    found = {name for name, stage in stages.items() if _reads_other(stage, made) or _has_other_params(stage, keys)} | broken
    found |= {name for name, stage in stages.items() if stage == before.get(name) and _reads_folder_of(stage, moved_in)}
    while True:
        spoilt = [path for name in found for path in dvc_lock.hashes(stages.get(name, {}), "outs")]
        more = {name for name, stage in stages.items() if name not in found and _reads_any(stage, spoilt)}
        if not more:
            return found
        found |= more


def moved(stages: Mapping[str, Mapping[str, Any]], folder: Path) -> dict[str, list[str]]:
    """Stage → the plugins whose code has moved without making it stale; see :mod:`workbench.project.plugin_lock`."""
    kept: Mapping[str, Any] = _locked_keys(folder).get("moved", {})
    return {
        name: sorted(kept[key.removeprefix("stages.")]["plugins"])
        for name, stage in stages.items()
        for key in stage.get("params", {}).get("plugins-lock.json", {})
        if key.removeprefix("stages.") in kept
    }


def _reads_other(stage: Mapping[str, Any], made: Mapping[str, str]) -> bool:
    return any(made.get(dep["path"], dep.get("md5")) != dep.get("md5") for dep in stage.get("deps", ()))


def _reads_any(stage: Mapping[str, Any], paths: list[str]) -> bool:
    deps = [dep["path"] for dep in stage.get("deps", ())]
    return any(dep == path or dep.startswith(f"{path}/") or path.startswith(f"{dep}/") for dep in deps for path in paths)


def _reads_folder_of(stage: Mapping[str, Any], paths: list[str]) -> bool:
    return any(path.startswith(f"{dep['path']}/") for dep in stage.get("deps", ()) for path in paths)


def _has_other_params(stage: Mapping[str, Any], keys: Mapping[str, Any]) -> bool:
    recorded = stage.get("params", {}).get("plugins-lock.json", {})
    return bool(keys) and any(_at(keys, key) != value for key, value in recorded.items())


def _at(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def _locked_keys(folder: Path) -> Mapping[str, Any]:
    file = folder / "plugins-lock.json"
    content: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return content
