"""Source ``huggingface``: a data set of the Hugging Face Hub, or one in a local folder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from workbench import hookimpl
from workbench.errors import ArtifactError, ParamsError
from workbench.kinds.rows import BadRow, Row, RowsConfig, RowSource, Sniffed, files_digest, require_columns
from workbench.kinds.values import unpadded
from workbench.plugin import Plugin
from workbench.run import Run
from workbench_source_huggingface import local

_MOVING = re.compile(r"(main|master|HEAD|refs/.*)", re.IGNORECASE)
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
_OFFLINE_FIX = (
    "connect to the internet once, so that the data set is cached; unset HF_HUB_OFFLINE if it is set; behind a mirror set "
    "HF_ENDPOINT; or copy the data set to a folder and set `dataset` to its path"
)


class HuggingFaceConfig(RowsConfig):
    """Configuration of ``huggingface``."""

    dataset: str = Field(min_length=1)
    """An id of the Hub, such as ``roneneldan/TinyStories``, or a folder with Parquet, JSON Lines, CSV or text files, or one
    written by ``save_to_disk``."""
    revision: str | None = None
    """Commit (40 hexadecimal digits) or tag of the Hub's data set; a branch moves, so it is refused. Null for a folder."""
    name: str | None = None
    """Name of the data set's configuration, where it has several."""
    split: str = Field("train", min_length=1)
    """Split, such as ``train``, ``train+test`` or ``train[:10%]`` (slices need ``streaming: false``)."""
    streaming: bool = True
    """Whether to read rows as they are needed instead of downloading the split first."""
    limit: int | None = Field(None, ge=1)
    """Read this many rows at most; null reads all."""

    @model_validator(mode="after")
    def _slices_need_no_streaming(self) -> Self:
        if self.streaming and "[" in self.split:
            raise ValueError("a slice of a split can't be streamed; set streaming: false, or use limit")
        return self


class HuggingFace(RowSource[HuggingFaceConfig]):
    """Data sets by the ``datasets`` library (https://huggingface.co/docs/datasets); code in a data set is never run.

    A revision is required for the Hub, since a data set without one is another tomorrow. A local folder is
    known by the digest of its files.
    """

    name = "huggingface"
    Config = HuggingFaceConfig

    @classmethod
    def sniff(cls, path: str) -> Sniffed | None:
        """What a folder written by ``save_to_disk`` holds; others are for the source ``files``."""
        return local.sniff(path)

    def external_inputs(self) -> Mapping[str, str]:
        """The pinned revision of a data set of the Hub, or the digest of a local folder."""
        folder = self._folder()
        if folder is None:
            return {"huggingface": f"{self.config.dataset}@{self._revision()}"}
        return {"huggingface": files_digest({file.relative_to(folder).as_posix(): file for file in _files(folder)})}

    def rows(self, run: Run) -> Iterator[Row | BadRow]:
        """Yield the rows of the split in its order."""
        dataset = self._open(run)
        origin, source = self.config.split, self._source()
        try:
            for number, values in enumerate(islice(dataset, self.config.limit)):
                if number == 0:
                    require_columns(list(values), self.config, f"{self.config.dataset}, split {self.config.split}", [values])
                yield Row(f"{origin}#{number}", source, {name: unpadded(value) for name, value in values.items()})
        except Exception as error:
            if explained := self._explained(error):
                raise explained from error
            raise

    def _open(self, run: Run) -> Iterable[Mapping[str, Any]]:
        import datasets

        datasets.disable_progress_bars()  # the stage shows its own
        folder, config = self._folder(), self.config
        # A bare name such as json would mean a builder of the library, so a folder is given by its whole path.
        path = str(folder.resolve()) if folder else config.dataset
        revision = None if folder else self._revision()
        try:
            if folder and local.is_saved(folder):
                return local.of_split(local.saved_splits(folder), config.split)
            if folder and config.name is None and not local.has_card(folder):
                return local.of_split(local.splits_of_files(path, run.scratch / "datasets"), config.split)
            dataset: Iterable[Mapping[str, Any]] = datasets.load_dataset(
                path,
                name=config.name,
                split=config.split,
                revision=revision,
                streaming=config.streaming,
                # Files of a folder are no download to keep: the copy that `datasets` makes goes with the stage.
                cache_dir=str(run.scratch / "datasets") if folder else None,
            )
        except Exception as error:
            if explained := self._explained(error):
                raise explained from error
            raise
        return dataset

    def _explained(self, error: Exception) -> ArtifactError | None:
        """A user's error for what `datasets` raises, None for anything else."""
        from datasets.exceptions import DatasetNotFoundError, DatasetsError

        where = f"{self.config.dataset}, split {self.config.split}"
        offline = any(isinstance(cause, ConnectionError) or "Connect" in type(cause).__name__ for cause in _causes(error))
        if offline:
            return ArtifactError("the Hugging Face Hub can't be reached", where, _OFFLINE_FIX)
        if isinstance(error, DatasetNotFoundError):
            fix = "check the id and the revision; a private or gated data set needs `hf auth login`"
            return ArtifactError("the data set is not on the Hub, or it is private", where, fix)
        if any("cast" in str(cause).lower() and "type" in str(cause).lower() for cause in _causes(error)):
            first = str(list(_causes(error))[-1]).strip().splitlines()[0]
            fix = "write one type in each row of the column; of a folder, `use: files` reads the columns that are needed alone"
            return ArtifactError(f"a column has values of several types: {first}", where, fix)
        if isinstance(error, DatasetsError | OSError | ValueError | RuntimeError):
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            return ArtifactError(f"the data set can't be read: {first}", where, "check `name`, `split` and the files")
        return None

    def _folder(self) -> Path | None:
        """The local folder, or None for a data set of the Hub."""
        path = Path(self.config.dataset).expanduser()
        if path.is_dir():
            return path
        if path.is_file():
            raise ArtifactError(
                "`dataset` is a file", self.config.dataset, "give the folder it is in, or read it with `use: files`"
            )
        if not _HUB_ID.fullmatch(self.config.dataset):
            raise ArtifactError("there is no such folder", self.config.dataset, "set `dataset` to a folder or an id of the Hub")
        return None

    def _revision(self) -> str:
        revision = self.config.revision
        if revision is None or _MOVING.fullmatch(revision):
            raise ParamsError(
                f"{self.config.dataset!r} is no folder here; a data set of the Hub needs a fixed revision, not {revision!r}",
                "key revision",
                "set `revision` to the commit shown under 'Files and versions' of the data set's page, or to a tag",
            )
        return revision

    def _source(self) -> str:
        return self.config.dataset if self._folder() is None else self.config.name or "huggingface"


def _files(folder: Path) -> list[Path]:
    shown = (file for file in folder.rglob("*") if file.is_file())
    return sorted(file for file in shown if not any(part.startswith(".") for part in file.relative_to(folder).parts))


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """Offer the plugin."""
    return [HuggingFace]
