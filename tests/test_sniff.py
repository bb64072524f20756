"""`workbench sniff`: its block of params.yaml reads what it was given, whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from workbench_source_files import Files, FilesConfig
from workbench_source_huggingface import HuggingFace, HuggingFaceConfig

from workbench.artifacts.corpus import Document
from workbench.commands import sniff
from workbench.errors import ArtifactError
from workbench.kinds.rows import RowSource
from workbench.testing import make_run

CHAT = [{"from": "human", "value": "How deep?"}, {"from": "gpt", "value": "Nine metres."}]
SOURCES = {"files": (Files, FilesConfig), "huggingface": (HuggingFace, HuggingFaceConfig)}


def sniffed(path: Path) -> tuple[str, str, dict[str, Any]]:
    """All that is printed, the entry's key and the entry."""
    printed = "\n".join(sniff.lines(Path.cwd(), str(path)))
    block = yaml.safe_load(printed[printed.index("\ncurate:") :])
    ((key, entry),) = block["curate"].items()
    return printed, key, entry


def records(tmp_path: Path, entry: dict[str, Any]) -> list[Any]:
    """What the entry reads, of which nothing may be bad."""
    plugin, config = SOURCES[entry["use"]]
    source: RowSource[Any] = plugin(config.model_validate({**entry["with"], "max_bad_share": 0}))
    return list(source.records(make_run(tmp_path)))


TABLES = {
    "chat.jsonl": (json.dumps({"id": 1, "conversations": CHAT}), "instructions", "sharegpt"),
    "alpaca.json": (json.dumps([{"instruction": "Count.", "input": "a b", "output": "2"}], indent=1), "instructions", "alpaca"),
    "dolly.jsonl": (json.dumps({"instruction": "Count.", "context": "a b", "response": "2"}), "instructions", "alpaca"),
    "pairs.ndjson": (json.dumps({"question": "How deep?", "chosen": "Nine.", "rejected": "No."}), "preferences", "preferences"),
    "maths.csv": ("question,answer\n1+1?,2\n", "problems", "prompt-answer"),
    "grade.jsonl": (json.dumps({"question": "1+1?", "answer": "It is 2.\n#### 2"}), "problems", "gsm8k"),
    "texts.tsv": ("n\ttext\n1\thello there\n", "corpus", None),
    "semicolons.csv": ("n;text\n1;hello, there\n", "corpus", None),
    "pipes.csv": ("n|body\n1|hello there\n", "corpus", None),
    "slashes.csv": ('n,comment_text\n1,"She said \\\\"go, now\\\\" and left for home"\n', "corpus", None),
}


@pytest.mark.parametrize("name", TABLES)
def test_the_block_that_is_printed_reads_every_row(tmp_path: Path, name: str) -> None:
    content, key, format_ = TABLES[name]
    (tmp_path / name).write_text(content, encoding="utf-8")
    printed, entry_key, entry = sniffed(tmp_path / name)
    assert (entry_key, entry["use"], entry["with"].get("format")) == (key, "files", format_)
    assert "1 of the first 1 records" in printed
    (record,) = records(tmp_path, entry)
    if isinstance(record, Document):
        assert record.text in printed.replace('\\\\"', '"').replace('\\"', '"')
    else:
        assert json.dumps(record.record(), ensure_ascii=False) in printed


def test_a_folder_of_texts_and_one_that_save_to_disk_wrote(tmp_path: Path) -> None:
    import datasets

    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.md").write_text("# One\n\nSome words.\n", encoding="utf-8")
    (tmp_path / "texts" / "b.png").write_bytes(b"x")
    printed, key, entry = sniffed(tmp_path / "texts")
    assert (key, len(records(tmp_path, entry))) == ("corpus", 1)
    assert "1 of other types" in printed
    datasets.DatasetDict({"test": datasets.Dataset.from_dict({"body": ["a text"]})}).save_to_disk(str(tmp_path / "saved"))
    _, key, entry = sniffed(tmp_path / "saved")
    assert (key, entry["use"], entry["with"]["split"], entry["with"]["columns"]) == (
        "corpus",
        "huggingface",
        "test",
        {"text": "body"},
    )
    assert len(records(tmp_path, entry)) == 1


def test_rows_that_would_be_left_out_are_printed_with_the_reason(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "Alone."}]}, {"conversations": CHAT}, {"conversations": CHAT[::-1]}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    printed, _, _ = sniffed(tmp_path / "a.jsonl")
    assert "2 of the first 3 records" in printed
    assert "a.jsonl:1: left out, " in printed


def test_what_cannot_be_recognised_or_read_is_said(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1.0]}), tmp_path / "a.parquet")
    printed = list(sniff.lines(Path.cwd(), str(tmp_path / "a.parquet")))
    assert "name their columns under `columns:`" in printed[1]
    assert 'a.parquet#1: {"x": 1.0}' in printed[2]
    with pytest.raises(ArtifactError, match="no such file or folder"):
        list(sniff.lines(Path.cwd(), str(tmp_path / "none")))
