"""What a format of artifacts is, and the workbench's own formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from workbench.artifacts import benchmark, corpus, evaluation, examples, model, table
from workbench.errors import ArtifactError
from workbench.run import Cell

FOLDER = "folder"
"""The format that accepts any folder: no chain of stages is refused for it."""


def _nothing(path: Path) -> None:
    """Accept anything."""


@dataclass(frozen=True)
class Format:
    """A named format of artifacts; a distribution offers its own by the hook ``workbench_formats``."""

    name: str
    validate: Callable[[Path], None]
    """Reads the whole artifact before it is committed. Raises ArtifactError unless it is complete and of this format."""
    require: Callable[[Path], None] = _nothing
    """Checks an input's metadata before its stage runs. Raises ArtifactError if the format's readers would fail."""
    prefixes: tuple[str, ...] = ()
    """Prefixes of its Parquet shards, for row counts and columns."""
    count: Callable[[Path], int] | None = None
    """Number of rows, where they are not in Parquet shards."""
    preview: Callable[[Path], Sequence[Mapping[str, Cell]]] | None = None
    """The first rows for people, shown with every run that writes one; None where the kind shows what it made."""

    def rows(self, path: Path) -> int | None:
        """Number of rows; None where the format has none."""
        if self.count is not None:
            return self.count(path)
        return sum(table.count_rows(path, prefix) for prefix in self.prefixes) if self.prefixes else None

    def columns(self, path: Path) -> dict[str, str]:
        """Column names and types, for tables."""
        return table.columns_of(path, self.prefixes[0]) if self.prefixes else {}


def _validate_folder(path: Path) -> None:
    if not path.is_dir() or not any(path.iterdir()):
        raise ArtifactError("the folder is missing or empty", str(path), "rerun the stage that makes it")


def _validate_decisions(path: Path) -> None:
    table.shards(path)


def _require_corpus(path: Path) -> None:
    table.require_columns(path, corpus.COLUMNS)
    _require_row(path, "part", "document")


def _require_examples(path: Path, format: str) -> None:
    for split in examples.SPLITS:
        table.require_columns(path, examples.FORMATS[format].schema, prefix=split)
    _require_row(path, "train", "row in its training split")


def _require_benchmark(path: Path) -> None:
    benchmark.description(path)
    table.require_columns(path, benchmark.COLUMNS, prefix="test")
    _require_row(path, "test", "question")


def _require_model(path: Path) -> None:
    model.validate_tokenizer(path)
    if not (path / "config.json").is_file():
        raise ArtifactError("config.json is missing", str(path), "rerun the stage that makes it")
    if not any(path.glob("*.safetensors")):
        raise ArtifactError("no *.safetensors file", str(path), "rerun the stage that makes it")


def _require_row(path: Path, prefix: str, noun: str) -> None:
    if table.count_rows(path, prefix) == 0:
        raise ArtifactError(f"it has no {noun}", str(path), "look at what the source read and filtered")


BUILT_IN: Mapping[str, Format] = {
    format_.name: format_
    for format_ in (
        Format("corpus", corpus.validate, _require_corpus, ("part",)),
        *(
            Format(name, partial(examples.validate, format=name), partial(_require_examples, format=name), examples.SPLITS)
            for name in examples.FORMATS
        ),
        Format("benchmark", benchmark.validate, _require_benchmark, ("test",)),
        Format("decisions", _validate_decisions, prefixes=("part",)),
        Format("tokenizer", model.validate_tokenizer, model.validate_tokenizer),
        Format("model", model.validate_model, _require_model),
        Format("evaluation", evaluation.validate, prefixes=(evaluation.EXAMPLES_PREFIX,)),
        Format(FOLDER, _validate_folder),
    )
}
