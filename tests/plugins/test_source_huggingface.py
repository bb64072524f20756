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


@pytest.mark.parametrize(
    ("split", "texts"),
    [
        ("train[:2]", ["a0", "a1"]),
        ("train[-1:]", ["a9"]),
        ("train[50%:70%]", ["a5", "a6"]),
        ("test+train[:1]", ["b0", "a0"]),
    ],
)
@pytest.mark.parametrize("saved", [True, False])
def test_a_slice_is_a_slice_in_every_kind_of_folder(tmp_path: Path, split: str, texts: list[str], saved: bool) -> None:
    import datasets

    rows = {"train": [f"a{number}" for number in range(10)], "test": ["b0"]}
    made = tmp_path / "set"
    if saved:
        datasets.DatasetDict({name: datasets.Dataset.from_dict({"text": of}) for name, of in rows.items()}).save_to_disk(
            str(made)
        )
    else:
        made.mkdir()
        for name, of in rows.items():
            (made / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in of), encoding="utf-8")
    assert list(Corpus(execute(tmp_path, source(made, split=split, streaming=False))).texts()) == texts


def test_a_saved_set_of_one_split_has_its_name_and_slices(tmp_path: Path) -> None:
    import datasets

    rows = {"text": [f"a{number}" for number in range(10)]}
    datasets.Dataset.from_dict(rows).save_to_disk(str(tmp_path / "set"))
    datasets.Dataset.from_dict(rows, split="test").save_to_disk(str(tmp_path / "named"))
    assert len(Corpus(execute(tmp_path, source(tmp_path / "set", split="train[:5]", streaming=False)))) == 5
    with pytest.raises(ArtifactError, match="no split 'train'; there is test"):
        execute(tmp_path, source(tmp_path / "named"))


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_column_that_is_not_read_may_change_its_type_from_file_to_file(tmp_path: Path, suffix: str) -> None:
    made = tmp_path / "set"
    made.mkdir()
    for name, scores in {"a": [None, None], "b": ["high", "low"]}.items():
        table = pa.table({"text": [f"{name}{number}" for number in range(2)], "score": scores})
        file = made / f"{name}.{suffix}"
        if suffix == "parquet":
            pq.write_table(table, file)
        elif suffix == "csv":
            rows = "".join(f"{row['text']},{row['score'] or ''}\n" for row in table.to_pylist())
            file.write_text("text,score\n" + rows, encoding="utf-8")
        else:
            file.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()), encoding="utf-8")
    assert list(Corpus(execute(tmp_path, source(made))).texts()) == ["a0", "a1", "b0", "b1"]


def test_types_that_a_card_holds_against_each_other_are_explained(tmp_path: Path) -> None:
    made = tmp_path / "set"
    made.mkdir()
    (made / "README.md").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    (made / "a.jsonl").write_text('{"text": "a", "score": null}\n', encoding="utf-8")
    (made / "b.jsonl").write_text('{"text": "b", "score": "high"}\n', encoding="utf-8")
    with pytest.raises(ArtifactError, match="several types") as caught:
        execute(tmp_path, source(made))
    assert "use: files" in caught.value.fix


def test_rows_of_the_hubs_shapes(tmp_path: Path) -> None:
    import datasets

    row = {"system": "", "question": "How deep?", "chosen": "Nine metres.", "rejected": "No idea."}
    datasets.Dataset.from_list([row]).save_to_disk(str(tmp_path / "set"))
    out = execute(tmp_path, source(tmp_path / "set", produces="preferences", heldout=0))
    (made,) = examples.read(out, "train")
    assert [turn["content"] for turn in made["prompt"]] == ["How deep?"]


def test_arguments_of_calls_are_not_filled_up_with_nulls(tmp_path: Path) -> None:
    """A typed table gives every call the arguments of all others; what is null there was never said."""
    import datasets

    def talk(function: str, **arguments: object) -> dict[str, object]:
        call = {"type": "function", "function": {"name": function, "arguments": arguments}}
        asked = {"role": "user", "content": function}
        return {
            "messages": [asked, {"role": "assistant", "content": None, "tool_calls": [call]}],
            "tools": [{"name": function, **arguments}],
        }

    rows = datasets.Dataset.from_list([talk("depth", well=3), talk("weather", town="Lugo")])
    rows.save_to_disk(str(tmp_path / "set"))
    (tmp_path / "files").mkdir()
    rows.to_parquet(str(tmp_path / "files" / "a.parquet"))
    for number, path in enumerate((tmp_path / "set", tmp_path / "files")):
        place = tmp_path / str(number)
        place.mkdir()
        out = execute(place, source(path, produces="conversations", heldout=0))
        made = list(examples.read(out, "train"))
        calls = [row["messages"][1]["tool_calls"][0]["function"]["arguments"] for row in made]
        assert [json.loads(call) for call in calls] == [{"well": 3}, {"town": "Lugo"}]
        assert json.loads(made[0]["tools"]) == [{"name": "depth", "well": 3}]


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
