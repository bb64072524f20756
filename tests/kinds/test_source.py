"""What the base class of sources refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from workbench.artifacts.corpus import Document
from workbench.errors import PluginError
from workbench.kinds.source import Source
from workbench.plugin import Config
from workbench.run import Run
from workbench.testing import make_run


class Bare(Source[Config]):
    """Documents without meta."""

    name = "bare"
    Config = Config
    produces = "corpus"
    meta_fields: ClassVar[tuple[str, ...]] = ()

    def records(self, run: Run) -> Iterator[Document]:
        """One document."""
        yield Document("Some text.", "here")


def test_a_corpus_without_meta_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    """Parquet has no empty struct: without the check, pyarrow fails when the first shard is written."""
    run = make_run(tmp_path)
    with pytest.raises(PluginError, match="has no fields") as caught:
        Bare(Config()).execute({}, {"out": tmp_path / "out", "decisions": tmp_path / "decisions"}, run)
    assert "meta_fields" in caught.value.fix
    assert not (tmp_path / "out").exists()
