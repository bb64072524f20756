"""Outputs behind symbolic links: DVC refuses them once their stage has run, or takes the link away before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from workbench.errors import PipelineError
from workbench.project.pipeline import PIPELINE_FILE, StageCall

_FIX = "remove the link, and keep large data on another disk by `dvc cache dir PATH` and `dvc config cache.type symlink`"


def require_none(root: Path, calls: Sequence[StageCall]) -> None:
    """Refuse an output below a link that leaves the workspace, or that is itself a link to a folder.

    A file may be a link: DVC makes such out of its cache, where `cache.type` says so.

    Raises:
        PipelineError: names the link and where it leads.
    """
    top = root.resolve()
    for call in calls:
        for out in map(Path, call.outs):
            links = [folder for folder in [out, *out.parents] if (root / folder).is_symlink() and (root / folder).is_dir()]
            outside = not (root / out.parent).resolve().is_relative_to(top)
            if links and (outside or links[0] == out):
                what = f"its output {out} lies behind the link {links[-1]}, to {(root / links[-1]).resolve()}"
                raise PipelineError(f"{what}: DVC would not keep it", f"{PIPELINE_FILE}, stage {call.address}", _FIX)
