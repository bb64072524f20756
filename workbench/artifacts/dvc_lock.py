"""dvc.lock: DVC's record of the stages that ran."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from workbench.artifacts import yaml_1_2

DECIDES_NO_OUTPUT = True

FILE = Path("dvc.lock")

Stages = Mapping[str, Mapping[str, Any]]
"""DVC's name of a stage → what is recorded of it; not to be changed, since all who read the same text share it."""


@lru_cache(maxsize=2)
def parse(text: str) -> Stages:
    """The stages in a dvc.lock, by DVC's names; cached, since a process asks several times and long files parse slowly."""
    content = yaml_1_2.load(text) or {}
    stages: Stages = content.get("stages", {})
    return stages


def stages(root: Path) -> Stages:
    """The stages of a folder's dvc.lock; empty if the file does not exist yet."""
    file = root / FILE
    return parse(file.read_text(encoding="utf-8")) if file.is_file() else {}


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
