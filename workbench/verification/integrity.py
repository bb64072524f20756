"""Files that have changed without DVC noticing.

DVC rehashes a file when its modification time, size or inode has changed. If something changes bytes and none of these (a bad
disk or cable, a program that sets the time back), DVC does not see it, and would record the result under a hash of other bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from workbench.artifacts import digests, dvc_lock
from workbench.artifacts.dvc_lock import Stages
from workbench.errors import ArtifactError
from workbench.project.dvc.workspace import Workspace, open_workspace


@dataclass(frozen=True)
class Altered:
    """A file whose hash differs from the one that DVC assumes."""

    file: Path
    """Relative to the workspace."""
    expected: str
    found: str
    """MD5."""


def altered(workspace: Workspace, files: Mapping[Path, str]) -> list[Altered]:
    """Those of ``files`` (relative to the workspace, with the MD5 of their bytes) for which DVC assumes another MD5.

    A file that DVC does not know, or sees to have changed, is not among them: it is hashed before it is used.
    """
    beliefs = {file: workspace.believed(file) for file in files}
    return [Altered(file, belief, files[file]) for file, belief in beliefs.items() if belief not in ("", files[file])]


def require_unaltered(root: Path, reader: str, path: Path, files: Mapping[str, str], stages: Stages) -> None:
    """Refuse an input whose bytes are not those that DVC will record for it.

    Args:
        root: the workspace.
        reader: DVC's name of the stage that is about to read it.
        path: the input, relative to ``root``.
        files: its files with their hashes, from :func:`workbench.artifacts.digests.listing`.
        stages: what dvc.lock holds.

    Raises:
        ArtifactError: names the files, and the stage that made them.
    """
    if _is_recorded(path, files, stages):
        return
    if find_spec("dvc"):
        with open_workspace(root) as workspace:
            found = altered(workspace, {path / name: digest for name, digest in files.items()})
    else:  # a separate environment lacks DVC, so dvc.lock's record of outputs must suffice
        expected = _hashes(stages, "outs").get(path.as_posix())
        found = [Altered(path, expected, digests.combined(files))] if expected else []
    if found:
        raise _refusal(reader, path, found, stages)


def _is_recorded(path: Path, files: Mapping[str, str], stages: Stages) -> bool:
    """Whether dvc.lock agrees about the input as a whole, or about the outputs that it consists of."""
    outs = _hashes(stages, "outs")
    if path.as_posix() in outs:
        return outs[path.as_posix()] == digests.combined(files)
    parts = {Path(out).relative_to(path).as_posix(): recorded for out, recorded in outs.items() if Path(out).is_relative_to(path)}
    if not parts:
        return _hashes(stages, "deps").get(path.as_posix()) == digests.combined(files)
    listings = {part: _below(part, files) for part in parts}
    whole = all(listing and digests.combined(listing) == parts[part] for part, listing in listings.items())
    return whole and sum(map(len, listings.values())) == len(files)


def _below(part: str, files: Mapping[str, str]) -> dict[str, str]:
    """The listing of an output that is a part of the input."""
    if part in files:
        return {"": files[part]}
    return {name.removeprefix(f"{part}/"): found for name, found in files.items() if name.startswith(f"{part}/")}


def _hashes(stages: Stages, key: Literal["deps", "outs"]) -> dict[str, str]:
    return {path: digest for stage in stages.values() for path, digest in dvc_lock.hashes(stage, key).items()}


def _refusal(reader: str, path: Path, found: Sequence[Altered], stages: Stages) -> ArtifactError:
    first = found[0]
    more = f" and {len(found) - 1} more" if found[1:] else ""
    maker = _maker(first.file, stages)
    what = f"input {path} is damaged: {first.file}{more} holds other bytes than DVC takes it for"
    where = f"stage {reader}, file {first.file}{f' of stage {maker}' if maker else ''}: MD5 {first.found}, not {first.expected}"
    fix = "`workbench verify` moves damaged files away, and `dvc repro` then restores them"
    if not maker:
        fix = "restore the file (git, a backup), or `touch` it if the change is intended; `workbench verify` lists such files"
    return ArtifactError(what, where, fix)


def _maker(file: Path, stages: Stages) -> str:
    """The stage that a file is an output of; empty if there is none."""
    paths = {file.as_posix(), *(parent.as_posix() for parent in file.parents)}
    return next((name for name, stage in stages.items() if any(out["path"] in paths for out in stage.get("outs", ()))), "")
