"""DVC's own view of a workspace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import PipelineError

if TYPE_CHECKING:
    from dvc.repo import Repo


@contextmanager
def open_repo(root: Path) -> Iterator[Repo]:
    """DVC's view of the workspace ``root``, which must be the current directory.

    Raises:
        PipelineError: it is not a DVC workspace, or DVC cannot read its pipeline.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            yield repo
    except DvcException as error:
        raise PipelineError(f"DVC cannot read the pipeline: {error}", str(root.resolve()), "`dvc status` tells more") from error
