"""Inputs that no plugin could read are refused before it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.artifacts.formats import BUILT_IN
from workbench.errors import ArtifactError
from workbench.testing.samples import BY_FORMAT
from workbench.testing.spoiled import spoil

READABLE = {"a single row"}


@pytest.mark.parametrize("format_name", BY_FORMAT)
def test_whole_inputs_pass_and_spoiled_ones_are_refused(format_name: str, tmp_path: Path) -> None:
    BY_FORMAT[format_name](tmp_path / "sample")
    BUILT_IN[format_name].validate(tmp_path / "sample")
    BUILT_IN[format_name].require(tmp_path / "sample")
    spoilt = dict(spoil(format_name, tmp_path / "sample", tmp_path / "spoilt"))
    assert spoilt
    for what, path in spoilt.items():
        if what in READABLE:
            BUILT_IN[format_name].require(path)
            continue
        with pytest.raises(ArtifactError) as caught:
            BUILT_IN[format_name].require(path)
        assert what.split()[-1] in str(caught.value) or "no " in str(caught.value)
        assert caught.value.fix


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    BY_FORMAT["corpus"](tmp_path / "sample")
    spoilt = dict(spoil("corpus", tmp_path / "sample", tmp_path / "spoilt"))
    with pytest.raises(ArtifactError, match="column 'text' is missing"):
        BUILT_IN["corpus"].require(spoilt["no column text"])


def test_formats_without_a_table_or_model_are_not_looked_into(tmp_path: Path) -> None:
    BUILT_IN["folder"].require(tmp_path)
