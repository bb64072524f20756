"""Artifact formats by name: how each is validated and summarised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from workbench.artifacts import benchmark, corpus, evaluation, examples, model, table
from workbench.errors import ArtifactError


@dataclass(frozen=True)
class Format:
    """A named artifact format."""

    name: str
    validate: Callable[[Path], None]
    """Raises ArtifactError unless the path holds a complete artifact of this format."""
    prefixes: tuple[str, ...] = ()
    """Prefixes of its Parquet shards, for row counts and columns."""


def _validate_folder(path: Path) -> None:
    if not path.is_dir() or not any(path.iterdir()):
        raise ArtifactError("the folder is missing or empty", str(path), "rerun the stage that makes it")


def _validate_decisions(path: Path) -> None:
    table.shards(path)


FORMATS: Mapping[str, Format] = {
    format_.name: format_
    for format_ in (
        Format("corpus", corpus.validate, ("part",)),
        *(Format(name, partial(examples.validate, format=name), examples.SPLITS) for name in examples.FORMATS),
        Format("benchmark", benchmark.validate, ("test",)),
        Format("decisions", _validate_decisions, ("part",)),
        Format("tokenizer", model.validate_tokenizer),
        Format("model", model.validate_model),
        Format("evaluation", evaluation.validate, (evaluation.EXAMPLES_PREFIX,)),
        Format("folder", _validate_folder),
    )
}


def rows_and_columns(path: Path, format_name: str) -> tuple[int | None, dict[str, str]]:
    """Number of rows and the columns of a tabular artifact; (None, {}) for others."""
    prefixes = FORMATS[format_name].prefixes
    if not prefixes:
        return None, {}
    return sum(table.count_rows(path, prefix) for prefix in prefixes), table.columns_of(path, prefixes[0])
