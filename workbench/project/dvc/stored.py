"""Results by their DVC hash, from the workspace's cache or else its remote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.artifacts import digests
from workbench.project.dvc.workspace import open_repo


def fetch(main: Path, wanted: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """Copy results into a new folder; a temporary DVC repository there queries the cache and the remotes of ``main``.

    Args:
        main: the workspace whose DVC configuration counts.
        wanted: name → DVC hash.
        folder: must not exist yet.

    Returns:
        name → location of the result, for those that were found and have that hash.
    """
    from dvc.repo import Repo

    with open_repo(main) as source:
        _create(folder, source.config, main)
    places = {name: folder / str(number) for number, name in enumerate(wanted)}
    outs = [{"md5": digest, "hash": "md5", "path": places[name].name} for name, digest in wanted.items()]
    # JSON is YAML with quotes. PyYAML would omit some, and DVC, whose YAML is 1.2, would read those hashes as numbers.
    (folder / "wanted.dvc").write_text(json.dumps({"outs": outs}), encoding="utf-8")
    repo = Repo(str(folder))
    repo.checkout(allow_missing=True)
    if repo.config["core"].get("remote") and any(not place.exists() for place in places.values()):
        repo.pull(allow_missing=True)
    repo.close()
    return {name: place for name, place in places.items() if place.exists() and digests.of(place) == wanted[name]}


def _create(folder: Path, source: Any, main: Path) -> None:
    """Make a DVC repository outside git with the cache and the remotes of another's configuration."""
    from dvc.config import Config

    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n")
    with Config(str(folder / ".dvc"), validate=False).edit("local") as config:
        cache = Path(source["cache"].get("dir") or main / ".dvc" / "cache")
        config["cache"] = {"dir": str(cache), "type": ["copy"]}  # a link would let a stage write into the cache
        config["remote"] = source["remote"]
        if remote := source["core"].get("remote"):
            config["core"] = {"remote": remote}
