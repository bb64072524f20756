"""The source `huggingface` on local folders, and its errors where there is no network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from workbench_source_huggingface import HuggingFace, HuggingFaceConfig

from workbench.artifacts import examples
from workbench.artifacts.corpus import Corpus
from workbench.errors import ArtifactError, ParamsError
from workbench.testing import make_run

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "set"
    made.mkdir()
    pq.write_table(pa.table({"text": [f"text {number}" for number in range(5)], "n": range(5)}), made / "train.parquet")
    pq.write_table(pa.table({"text": ["test text"], "n": [9]}), made / "test.parquet")
    return made


def source(dataset: Path | str, **config: Any) -> HuggingFace:
    return HuggingFace(HuggingFaceConfig.model_validate({"dataset": str(dataset), **config}), {})


def execute(tmp_path: Path, hf: HuggingFace) -> Path:
    run = make_run(tmp_path)
    hf.execute({}, {"out": tmp_path / "out", "decisions": tmp_path / "decisions"}, run)
    return tmp_path / "out"


@pytest.mark.parametrize("streaming", [True, False])
def test_a_local_folder_by_split_and_limit(tmp_path: Path, folder: Path, streaming: bool) -> None:
    out = execute(tmp_path, source(folder, streaming=streaming, limit=3))
    rows = list(Corpus(out).rows())
    assert [row["text"] for row in rows] == ["text 0", "text 1", "text 2"]
    assert rows[2]["meta"]["origin"] == "train#2"
    assert rows[0]["source"] == "huggingface"
    again = tmp_path / "again"
    again.mkdir()
    assert list(Corpus(execute(again, source(folder, split="test"))).texts()) == ["test text"]


def test_json_lines_of_conversations(tmp_path: Path) -> None:
    made = tmp_path / "set"
    made.mkdir()
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    (made / "train.jsonl").write_text(json.dumps({"dialogue": turns}) + "\n", encoding="utf-8")
    out = execute(tmp_path, source(made, produces="conversations", columns={"messages": "dialogue"}, heldout=0))
    examples.validate(out, "conversations")
    assert [row["messages"] for row in examples.read(out, "train")] == [turns]


def test_a_folder_written_by_save_to_disk(tmp_path: Path) -> None:
    import datasets

    datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": ["saved"]})}).save_to_disk(str(tmp_path / "set"))
    assert list(Corpus(execute(tmp_path, source(tmp_path / "set"))).texts()) == ["saved"]
    with pytest.raises(ArtifactError, match="no split 'test'; there is train"):
        execute(tmp_path, source(tmp_path / "set", split="test"))


def test_external_inputs_are_the_content_of_a_folder_or_the_revision(folder: Path) -> None:
    before = source(folder).external_inputs()
    (folder / "test.parquet").unlink()
    assert before != source(folder).external_inputs()
    assert source("owner/set", revision=COMMIT).external_inputs() == {"huggingface": f"owner/set@{COMMIT}"}


@pytest.mark.parametrize("revision", [None, "main", "refs/pr/1"])
def test_the_hub_needs_a_fixed_revision(revision: str | None) -> None:
    with pytest.raises(ParamsError, match="needs a fixed revision") as caught:
        source("owner/set", revision=revision).external_inputs()
    assert "commit" in caught.value.fix


def test_wrong_columns_and_splits_are_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ArtifactError, match="no column 'body'; the columns are 'text', 'n'"):
        execute(tmp_path, source(folder, columns={"text": "body"}))
    with pytest.raises(ArtifactError, match="can't be read"):
        execute(tmp_path, source(folder, split="nope"))


def test_paths_that_are_no_folder(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ArtifactError, match="no such folder"):
        source("/no/such/folder").external_inputs()
    with pytest.raises(ArtifactError, match="use: files"):
        source(folder / "test.parquet").external_inputs()


def test_offline_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(ArtifactError, match="can't be reached") as caught:
        execute(tmp_path, source("owner/set", revision=COMMIT))
    assert "HF_HUB_OFFLINE" in caught.value.fix


def test_code_in_a_data_set_is_not_run(tmp_path: Path) -> None:
    made = tmp_path / "set"
    made.mkdir()
    (made / "set.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')", encoding="utf-8")
    with pytest.raises(ArtifactError):
        execute(tmp_path, source(made))
    assert not (tmp_path / "ran").exists()


def test_slices_cannot_be_streamed(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ValidationError, match="streaming: false"):
        source(folder, split="train[:2]")
    assert len(Corpus(execute(tmp_path, source(folder, split="train[:2]", streaming=False)))) == 2
