"""When the bytes of an input are known to dvc.lock, and when a stage has to refuse without a DVC to ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from workbench.artifacts import digests
from workbench.errors import ArtifactError
from workbench.verification import integrity

FOLDER = {"a/x": "1" * 32, "a/y": "2" * 32, "b": "3" * 32}
PART = {"x": "1" * 32, "y": "2" * 32}
OUTS = [{"path": "data/in/a", "md5": digests.combined(PART)}, {"path": "data/in/b", "md5": "3" * 32}]


def stages(outs: list[dict[str, Any]], deps: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"maker": {"outs": outs}, "reader": {"deps": deps or []}}


@pytest.fixture(autouse=True)
def no_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an environment of a plugin's own."""
    monkeypatch.setattr(integrity, "find_spec", lambda _: None)


def require(path: str, files: dict[str, str], known: dict[str, Any]) -> None:
    integrity.require_unaltered(Path(), "reader", Path(path), files, known)


def test_an_output_is_held_to_what_dvc_lock_says(tmp_path: Path) -> None:
    known = stages([{"path": "data/in", "md5": digests.combined(PART)}])
    require("data/in", PART, known)
    with pytest.raises(ArtifactError) as caught:
        require("data/in", {**PART, "x": "9" * 32}, known)
    for word in ("data/in", "stage reader", "stage maker", "workbench verify"):
        assert word in str(caught.value)
    require("data/other", PART, known)  # nobody knows it


@pytest.mark.parametrize(
    ("outs", "files", "known"),
    [
        (OUTS, FOLDER, True),
        (OUTS, {**FOLDER, "b": "9" * 32}, False),
        (OUTS, {**FOLDER, "more": "4" * 32}, False),
        (OUTS, {"a/x": "1" * 32, "a/y": "2" * 32}, False),
        (OUTS[1:], FOLDER, False),
        ([], FOLDER, False),
    ],
)
def test_a_folder_of_outputs_is_known_by_its_parts(outs: list[dict[str, Any]], files: dict[str, str], known: bool) -> None:
    assert integrity._is_recorded(Path("data/in"), files, stages(outs)) is known


def test_an_input_that_no_stage_makes_is_known_by_the_stages_that_read_it() -> None:
    known = stages([], [{"path": "raw", "md5": digests.combined(PART)}])
    assert integrity._is_recorded(Path("raw"), PART, known)
    assert not integrity._is_recorded(Path("raw"), {**PART, "x": "9" * 32}, known)
