"""dvc.yaml with ``foreach``, ``matrix`` and ``${…}`` filled in from params.yaml, by DVC itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from workbench.errors import PipelineError


def expand(root: Path, content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The concrete stages of a dvc.yaml, by DVC's names: ``foreach``, ``matrix`` and ``${…}`` filled in from params.yaml.

    Args:
        root: the folder that holds both files; it need not be a DVC workspace.
        content: of dvc.yaml.

    Raises:
        PipelineError: names the stage and what DVC does not find or understand.
    """
    from dvc.config import Config
    from dvc.exceptions import DvcException
    from dvc.fs import localfs
    from dvc.parsing import DataResolver, EntryDefinition

    found: dict[str, dict[str, Any]] = {}
    where = "dvc.yaml"
    try:
        repo = SimpleNamespace(fs=localfs, config=Config(str(root / ".dvc"), validate=False))
        for name, definition in DataResolver(repo, str(root.resolve()), dict(content)).definitions.items():
            where = f"dvc.yaml, stage {name}"
            found |= definition.resolve() if isinstance(definition, EntryDefinition) else definition.resolve_all()
    except DvcException as error:
        raise _unfilled(error, where) from error
    return found


def _unfilled(error: Exception, where: str) -> PipelineError:
    from dvc.parsing.context import KeyNotInContext

    cause = error.__context__
    if isinstance(cause, KeyNotInContext):
        return PipelineError(f"${{{cause.key}}} is not in params.yaml", where, f"add the key {cause.key}")
    return PipelineError(f"DVC cannot fill it in: {error}", where, "correct it, or what it names in params.yaml")
