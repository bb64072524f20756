"""Checks a stage's inputs before it runs, from metadata alone: files, columns, and that there is at least one row.

Outputs are validated row by row before they are committed (:mod:`workbench.artifacts.formats`); inputs may come from elsewhere,
or be damaged since, so that a plugin would meet a KeyError where the user has to hear which column is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from workbench.artifacts import benchmark, corpus, examples, model, table
from workbench.errors import ArtifactError


def require(format_name: str, path: Path) -> None:
    """Refuse an input that its format's readers could not read.

    Raises:
        ArtifactError: names the file or column that is missing, or says that there are no rows.
    """
    check = _CHECKS.get(format_name)
    if check is not None:
        check(path)


def _require_corpus(path: Path) -> None:
    table.require_columns(path, corpus.COLUMNS)
    _require_row(path, "part", "document")


def _require_examples(path: Path, format_name: str) -> None:
    for split in examples.SPLITS:
        table.require_columns(path, examples.FORMATS[format_name].schema, prefix=split)
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
        raise ArtifactError(f"it lacks a {noun}", str(path), "look at what the source read and filtered")


def _examples_of(format_name: str) -> Callable[[Path], None]:
    return lambda path: _require_examples(path, format_name)


_CHECKS: Mapping[str, Callable[[Path], None]] = {
    "corpus": _require_corpus,
    **{name: _examples_of(name) for name in examples.FORMATS},
    "benchmark": _require_benchmark,
    "tokenizer": model.validate_tokenizer,
    "model": _require_model,
}
