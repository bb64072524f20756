"""Results by their hash: what a DVC repository has, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from dvc.repo import Repo

from workbench.artifacts import digests
from workbench.project.dvc import stored


@pytest.fixture
def main(tmp_path: Path) -> Path:
    root = tmp_path / "main"
    root.mkdir()
    repo = Repo.init(str(root), no_scm=True)
    (root / "file").write_text("content")
    repo.add(str(root / "file"))
    repo.close()
    return root


def test_what_the_cache_has_comes_as_a_copy(main: Path, tmp_path: Path) -> None:
    digest = digests.of(main / "file")
    (main / "file").unlink()
    assert stored.fetch(main, {"wanted": digest}, tmp_path / "into")["wanted"].read_text() == "content"


@pytest.mark.parametrize("digest", ["a" * 32, "0" * 30 + "28", "1" * 15 + "e" + "1" * 16, "9" * 32])
def test_what_nobody_has_is_left_out(main: Path, tmp_path: Path, digest: str) -> None:
    """Some hashes look like numbers."""
    assert stored.fetch(main, {"wanted": digest}, tmp_path / "into") == {}
