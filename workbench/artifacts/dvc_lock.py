"""dvc.lock: DVC's record of the stages that ran."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml

from workbench.artifacts import unreadable, yaml_1_2
from workbench.errors import ArtifactError

DECIDES_NO_OUTPUT = True

FILE = Path("dvc.lock")
_RESTORE = "`git checkout dvc.lock`, or remove the file: `dvc repro` then takes from its cache what it has made before"

Stages = Mapping[str, Mapping[str, Any]]
"""DVC's name of a stage → what is recorded of it; not to be changed, since all who read the same text share it."""


@lru_cache(maxsize=2)
def parse(text: str) -> Stages:
    """The stages in a dvc.lock, by DVC's names; cached, since a process asks several times and long files parse slowly.

    Raises:
        ArtifactError: it is no dvc.lock, or holds a merge conflict.
    """
    try:
        content = yaml_1_2.load(text) or {}
    except yaml.YAMLError as error:
        what, fix = unreadable.explain(FILE.name, text, f"not YAML: {error}", _RESTORE)
        raise ArtifactError(what, str(FILE), fix) from error
    stages = content.get("stages", {}) if isinstance(content, dict) else None
    if not isinstance(stages, dict) or not all(isinstance(stage, dict) for stage in stages.values()):
        raise ArtifactError("it holds no record of stages", str(FILE), _RESTORE)
    return stages


def stages(root: Path) -> Stages:
    """The stages of a folder's dvc.lock; empty if the file does not exist yet.

    Raises:
        ArtifactError: it cannot be read; DVC was interrupted while it wrote it, or a merge was.
    """
    file = root / FILE
    if not file.is_file():
        return {}
    text = file.read_text(encoding="utf-8", errors="replace")
    if not text.strip():
        raise ArtifactError("it is empty: DVC was interrupted while it wrote it", str(FILE), _RESTORE)
    return parse(text)


def hashes(stage: Mapping[str, Any], key: Literal["deps", "outs"]) -> dict[str, str]:
    """Path → DVC hash of a stage's inputs or outputs."""
    return {item["path"]: item["md5"] for item in stage.get(key, ()) if "md5" in item}


def entry(stage: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's entry in plugins-lock.json at the time it ran."""
    (found,) = stage["params"]["plugins-lock.json"].values()
    return dict(found)


def absent(root: Path) -> list[str]:
    """Paths of the outputs in a folder's dvc.lock that do not exist."""
    return [path for path in outputs(root) if not (root / path).exists()]


def outputs(root: Path) -> dict[str, str]:
    """Path → DVC hash of every output in a folder's dvc.lock."""
    return {path: digest for stage in stages(root).values() for path, digest in hashes(stage, "outs").items()}
