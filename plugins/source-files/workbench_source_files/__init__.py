"""Source ``files``: text and tables of one's own, from a file, a folder or a glob."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from workbench import hookimpl
from workbench.errors import ArtifactError
from workbench.estimate import Estimate, size_of
from workbench.kinds.rows import BadRow, Row, RowsConfig, RowSource, Sniffed, files_digest
from workbench.plugin import Config, Plugin
from workbench.run import Run
from workbench_source_files.finding import find, type_of
from workbench_source_files.limits import Limits

TEXT_TYPES = (".txt", ".md")


class CsvDialect(Config):
    """How .csv and .tsv files are written; the defaults are RFC 4180's."""

    delimiter: str | None = Field(None, min_length=1, max_length=1)
    """What parts the columns; null is the comma in .csv files and the tabulator in .tsv files."""
    quote: str | None = Field('"', min_length=1, max_length=1)
    """What encloses values that hold the delimiter or line ends; null takes such marks as text."""
    escape: str | None = Field(None, min_length=1, max_length=1)
    r"""What makes the next character text, such as the backslash of ``\"``; null doubles the quotation mark instead."""


class FilesConfig(RowsConfig):
    """Configuration of ``files``."""

    path: str = Field(min_length=1)
    """A folder (searched in depth), a file, or a glob such as ``texts/**/*.jsonl.zst``: .txt, .md, .jsonl, .ndjson, .json (an
    array of rows, or as .jsonl), .csv, .tsv, also with .gz or .zst behind; .parquet."""
    csv: CsvDialect = CsvDialect()
    """The dialect of .csv and .tsv files."""
    split: Literal["none", "paragraphs"] = "paragraphs"
    """Whether a .txt or .md file is one document or several, cut between paragraphs."""
    max_characters: int = Field(2_000, ge=100)
    """With ``split: paragraphs``, the longest document; a longer paragraph is cut between lines or words."""
    max_decompressed_bytes: int = Field(100_000_000_000, ge=1)
    """The most that one compressed file may unpack to, against decompression bombs."""
    max_compression_ratio: float = Field(200, ge=1)
    """The most by which a compressed file may grow, against decompression bombs."""


class Files(RowSource[FilesConfig]):
    """Text files (https://jsonlines.org, RFC 4180, Parquet): each paragraph group, line or row is a record.

    Files are read in the order of their paths below the folder; the absolute path enters no output.
    """

    name = "files"
    Config = FilesConfig

    @classmethod
    def sniff(cls, path: str) -> Sniffed | None:
        """What the files at a path are, judged by the first one that holds rows."""
        from workbench_source_files.sniffing import sniff

        return sniff(path)

    def external_inputs(self) -> Mapping[str, str]:
        """The digest of all files that it reads."""
        return {"files": files_digest(find(self.config.path).files)}

    def estimate(self, inputs: Mapping[str, Path]) -> Estimate:
        """The bytes of all files that it reads."""
        return Estimate(size_of(find(self.config.path).files), "bytes")

    def rows(self, run: Run) -> Iterator[Row | BadRow]:
        """Yield the rows of one file after another."""
        import pyarrow as pa

        from workbench_source_files.reading import read

        found = find(self.config.path)
        if found.ignored:
            self.add(run, "ignored_files", found.ignored)
        limits = Limits(self.config.max_record_bytes, self.config.max_decompressed_bytes, self.config.max_compression_ratio)
        empty = 0
        for name, file in found.files.items():
            self._require_format(name)
            number = 0
            try:
                for row in read(name, file, self.config, limits):
                    number += 1
                    yield row
            except (OSError, EOFError, pa.ArrowException) as error:
                fix = "repair, replace or remove the file"
                raise ArtifactError(f"the file can't be read: {error}".replace(str(file), name), name, fix) from error
            empty += not number
        if empty:
            self.add(run, "empty_files", empty)

    def _require_format(self, name: str) -> None:
        if self.config.produces != "corpus" and type_of(name) in TEXT_TYPES:
            raise ArtifactError(
                f"a text file can't give {self.config.produces}",
                name,
                "set `produces: corpus`, or point `path` at tables, such as *.jsonl",
            )


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """Offer the plugin."""
    return [Files]
