"""The source `files`: every type, column maps, quarantine, hostile input, and independence of the folder's place."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from workbench_dedup_exact import Exact, ExactConfig
from workbench_source_files import Files, FilesConfig
from workbench_source_files.paragraphs import packed, paragraphs

from workbench.artifacts import corpus, examples, table
from workbench.artifacts.corpus import Corpus, Document
from workbench.errors import ArtifactError
from workbench.kinds.rows import BadRow, Row
from workbench.run import Run
from workbench.testing import Recorder, make_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "texts"
    made.mkdir()
    return made


def source(path: Path | str, **config: Any) -> Files:
    return Files(FilesConfig.model_validate({"path": str(path), **config}), {})


def execute(tmp_path: Path, files: Files) -> tuple[Path, Run, Recorder]:
    run = make_run(tmp_path)
    files.execute({}, {"out": tmp_path / "out", "decisions": tmp_path / "decisions"}, run)
    return tmp_path / "out", run, run.listener


def read(tmp_path: Path, path: Path | str, **config: Any) -> list[tuple[str, str]]:
    """Text and origin of every document."""
    out, _, _ = execute(tmp_path, source(path, **config))
    corpus.validate(out)
    return [(row["text"], row["meta"]["origin"]) for row in Corpus(out).rows()]


def jsonl(*rows: object) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def test_every_type_of_file_in_one_folder(tmp_path: Path, folder: Path) -> None:
    (folder / "sub").mkdir()
    rows = jsonl({"text": "one"}, {"text": "two"})
    (folder / "a.jsonl").write_bytes(rows)
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(jsonl({"text": "three"})))
    with pa.CompressedOutputStream(str(folder / "c.jsonl.zst"), "zstd") as packed_file:
        packed_file.write(jsonl({"text": "four"}))
    (folder / "d.csv").write_bytes(b'n,text\r\n1,"five, or\n5"\r\n2,six\r\n')
    pq.write_table(pa.table({"text": ["seven"], "other": [1]}), folder / "e.parquet")
    (folder / "f.txt").write_bytes(b"\xef\xbb\xbfeight\r\neight\r\n")
    (folder / "sub" / "g.md").write_text("# nine\n", encoding="utf-8")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    (folder / ".hidden.txt").write_text("secret", encoding="utf-8")
    assert read(tmp_path, folder) == [
        ("one", "a.jsonl:1"),
        ("two", "a.jsonl:2"),
        ("three", "b.jsonl.gz:1"),
        ("four", "c.jsonl.zst:1"),
        ("five, or\n5", "d.csv:3"),
        ("six", "d.csv:4"),
        ("seven", "e.parquet#1"),
        ("eight\neight", "f.txt:1"),
        ("# nine", "sub/g.md:1"),
    ]
    sources = [row["source"] for row in Corpus(tmp_path / "out").rows()]
    assert sources == ["jsonl", "jsonl", "jsonl.gz", "jsonl.zst", "csv", "csv", "parquet", "txt", "sub"]


def test_glob_and_single_file(tmp_path: Path, folder: Path) -> None:
    (folder / "x").mkdir()
    (folder / "x" / "a.txt").write_text("in x", encoding="utf-8")
    (folder / "b.txt").write_text("in b", encoding="utf-8")
    first, second, third = tmp_path / "1", tmp_path / "2", tmp_path / "3"
    for made in (first, second, third):
        made.mkdir()
    assert read(first, folder / "b.txt") == [("in b", "b.txt:1")]
    assert read(second, f"{folder}/*/*.txt") == [("in x", "x/a.txt:1")]
    assert read(third, f"{folder}/**/*.txt") == [("in b", "b.txt:1"), ("in x", "x/a.txt:1")]


def test_the_same_content_in_another_folder_gives_the_same_bytes_and_digest(tmp_path: Path) -> None:
    made = []
    for name in ("here", "there"):
        place = tmp_path / name / "texts"
        place.mkdir(parents=True)
        (place / "b.txt").write_text("b\n\nc", encoding="utf-8")
        (place / "a.jsonl").write_bytes(jsonl({"text": "a"}))
        out, _, _ = execute(tmp_path / name, source(place))
        decisions = (tmp_path / name / "decisions" / "part-00000.parquet").read_bytes()
        made.append(((out / "part-00000.parquet").read_bytes(), decisions, source(place).external_inputs()))
    assert made[0] == made[1]


def test_external_inputs_follow_names_and_content(folder: Path) -> None:
    (folder / "a.txt").write_text("a", encoding="utf-8")
    first = source(folder).external_inputs()
    (folder / "a.txt").rename(folder / "b.txt")
    second = source(folder).external_inputs()
    (folder / "b.txt").write_text("b", encoding="utf-8")
    assert len({str(found) for found in (first, second, source(folder).external_inputs())}) == 3


def test_a_long_text_becomes_documents_of_whole_paragraphs(tmp_path: Path, folder: Path) -> None:
    text = "\n\n".join(f"Paragraph {number} " + "word " * 10 for number in range(30))
    (folder / "book.txt").write_text(text, encoding="utf-8")
    found = read(tmp_path, folder, max_characters=200)
    assert len(found) > 8
    assert all(len(text) <= 200 and text.startswith("Paragraph") for text, _ in found)
    assert found[1][1] == "book.txt:7"


def test_whole_file_as_one_document(tmp_path: Path, folder: Path) -> None:
    (folder / "a.txt").write_text("one\n\ntwo\n", encoding="utf-8")
    assert read(tmp_path, folder, split="none") == [("one\n\ntwo\n", "a.txt")]


@given(st.text(alphabet="ab \n", max_size=400), st.integers(3, 60))
def test_paragraphs_lose_no_word_character_and_keep_the_limit(text: str, limit: int) -> None:
    pieces = text.splitlines(keepends=True)
    found = list(packed(paragraphs(pieces, limit), limit))
    assert "".join("".join(part for _, part in found).split()) == "".join(text.split())
    assert all(0 < len(part) <= limit for _, part in found)
    lines = text.split("\n")
    for line, part in found:
        assert part.split()[0][:1] in lines[line - 1]


def test_text_without_a_line_end_is_read_in_pieces(tmp_path: Path, folder: Path) -> None:
    (folder / "one-line.txt").write_text("word " * 50_000, encoding="utf-8")
    found = read(tmp_path, folder)
    assert all(len(text) <= 2_000 for text, _ in found)
    assert sum(len(row["excerpt"] or "") == 0 for row in table.read_rows(tmp_path / "decisions")) >= 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "open', "malformed-json"),
        (b"[1, 2]", "malformed-json"),
        (b'{"text": "\xff"}', "bad-utf8"),
        (b'{"text": "\\ud800"}', "bad-utf8"),
        (b'{"text": "a\\u0000b"}', "nul-character"),
        (b'{"text": 3}', "not-text"),
        (b'{"other": "x"}', "missing-column"),
        (b'{"text": "' + b"x" * 2_000 + b'"}', "too-long"),
        (b"[" * 900_0 + b"]", "too-long"),
    ],
)
def test_bad_lines_are_left_out_and_counted_or_refused(tmp_path: Path, folder: Path, line: bytes, reason: str) -> None:
    (folder / "a.jsonl").write_bytes(jsonl({"text": "good"}) + line + b"\n\n" + jsonl({"text": "better"}))
    out, run, recorder = execute(tmp_path, source(folder, max_bad_share=0.34, max_record_bytes=1_000))
    assert list(Corpus(out).texts()) == ["good", "better"]
    assert run.summary[f"rejected.unreadable.{reason}"] == 1
    assert run.summary["read"] == 3
    assert recorder.tables["quarantine"][0]["record"] == "a.jsonl:2"
    again = tmp_path / "again"
    again.mkdir()
    with pytest.raises(ArtifactError, match=f"1 of 3 records are unreadable.*{reason}") as caught:
        execute(again, source(folder, max_bad_share=0.3, max_record_bytes=1_000))
    assert caught.value.where == "a.jsonl:2"
    assert "max_bad_share" in caught.value.fix


def test_deeply_nested_json_is_a_bad_line(tmp_path: Path, folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(jsonl({"text": "good"}) + b'{"text": ' + b"[" * 200_000 + b"\n")
    _, run, _ = execute(tmp_path, source(folder, max_bad_share=0.5))
    assert run.summary["rejected.unreadable.malformed-json"] == 1


def test_empty_texts_are_counted_and_not_bad(tmp_path: Path, folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(jsonl({"text": "good"}, {"text": " "}, {"text": None}))
    _, run, _ = execute(tmp_path, source(folder, max_bad_share=0))
    assert run.summary["rejected.unreadable.empty-text"] == 2


def test_a_bad_paragraph_harms_only_its_document(tmp_path: Path, folder: Path) -> None:
    (folder / "a.txt").write_bytes(b"good text\n\n" + b"x" * 190 + b"\xff\n\n" + b"y" * 190)
    found = read(tmp_path, folder, max_characters=200, max_bad_share=0.5)
    assert [origin for _, origin in found] == ["a.txt:1", "a.txt:5"]


def test_csv_rows_with_wrong_fields_are_bad_and_an_open_quote_is_an_error(tmp_path: Path, folder: Path) -> None:
    (folder / "a.csv").write_bytes(b'text,n\ngood,1\nbad\n"x"y,2\nbetter,3\n')
    assert [text for text, _ in read(tmp_path, folder, max_bad_share=0.5)] == ["good", "better"]
    (folder / "a.csv").write_bytes(b'text,n\n"open,1\n' + b"more,2\n" * 1_000)
    with pytest.raises(ArtifactError, match="longer than max_record_bytes 500") as caught:
        read(tmp_path, folder, max_record_bytes=500)
    assert "quotation mark" in caught.value.fix
    assert "a.csv, line" in caught.value.where


def table_of(rows: int, broken: dict[int, str], columns: str = "n,text") -> bytes:
    """A CSV whose given rows are written otherwise."""
    lines = [broken.get(number, f"{number},row {number}") for number in range(rows)]
    return "\n".join([columns, *lines, ""]).encode()


def test_an_open_quote_costs_its_own_row_where_the_lines_below_are_rows(tmp_path: Path, folder: Path) -> None:
    (folder / "a.csv").write_bytes(table_of(1_000, {400: '400,"row 400', 900: '900,"row, 900"'}))
    out, run, recorder = execute(tmp_path, source(folder))
    assert [row["meta"]["origin"] for row in Corpus(out).rows()] == [f"a.csv:{n + 2}" for n in range(1_000) if n != 400]
    assert (run.summary["read"], run.summary["kept"]) == (1_000, 999)
    assert recorder.tables["quarantine"][0]["record"] == "a.csv:402"


def test_an_open_quote_weighs_all_lines_that_it_swallowed_where_they_may_be_text(tmp_path: Path, folder: Path) -> None:
    (folder / "a.csv").write_bytes(table_of(100, {40: '40,"a text', 41: "of several lines", 42: 'with a "quoted" word'}))
    out, run, _ = execute(tmp_path, source(folder, max_bad_share=0.03))
    assert len(Corpus(out)) == 97
    assert run.summary["rejected.unreadable.malformed-csv"] == 3
    (folder / "a.csv").write_bytes("\n".join(["text", *(f"row {n}" for n in range(40)), '"open', *["row"] * 59, ""]).encode())
    again = tmp_path / "again"
    again.mkdir()
    with pytest.raises(ArtifactError, match="60 of 100 records") as caught:
        execute(again, source(folder))
    assert caught.value.where == "a.csv:42"
    assert "close the quotation mark that was opened in line 42" in caught.value.fix


def test_two_stray_quotes_do_not_hide_the_rows_between_them(tmp_path: Path, folder: Path) -> None:
    (folder / "a.csv").write_bytes(table_of(100, {40: '40,"row 40', 60: '60,row 60"'}))
    with pytest.raises(ArtifactError, match="21 of 100 records"):
        execute(tmp_path, source(folder))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    lines=st.lists(st.text(alphabet='ab",;\\\t ', min_size=1, max_size=8), max_size=30),
    csv=st.sampled_from([{}, {"escape": "\\"}, {"quote": None}]),
)
def test_every_line_of_a_csv_is_in_a_row_or_left_out(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], csv: dict[str, Any]
) -> None:
    place = tmp_path_factory.mktemp("csv")
    (place / "a.csv").write_text("n,text\n" + "".join(f"{line}\n" for line in [*lines, "1,last"]), encoding="utf-8")
    rows = list(source(place / "a.csv", csv=csv).rows(make_run(place)))
    left_out = sum(row.records for row in rows if isinstance(row, BadRow))
    in_rows = sum(1 + "".join(row.values.values()).count("\n") for row in rows if isinstance(row, Row))
    assert left_out + in_rows == len(lines) + 1


@pytest.mark.parametrize(
    ("name", "content", "csv"),
    [
        ("a.tsv", b"n\ttext\n1\thello there\n", {}),
        ("a.tsv.gz", gzip.compress(b"n\ttext\n1\thello there\n", mtime=0), {}),
        ("a.csv", b"n\ttext\n1\thello there\n", {"delimiter": "\t"}),
        ("a.csv", b"n;text\n1;hello there\n", {"delimiter": ";"}),
        ("a.csv", b'n,text\n1,"hello there"\n', {"escape": "\\"}),
        ("a.csv", b"n,text\n1,'hello there'\n", {"quote": "'"}),
    ],
)
def test_dialects_of_tables(tmp_path: Path, folder: Path, name: str, content: bytes, csv: dict[str, str]) -> None:
    (folder / name).write_bytes(content)
    assert [text for text, _ in read(tmp_path, folder, csv=csv)] == ["hello there"]


def test_quotes_behind_backslashes_and_quotes_that_are_text(tmp_path: Path, folder: Path) -> None:
    (folder / "a.csv").write_bytes(b'n,text\n1,"She said \\"go, 1\\" and left"\n2,"two"\n')
    assert [text for text, _ in read(tmp_path, folder, csv={"escape": "\\"})] == ['She said "go, 1" and left', "two"]
    (folder / "a.csv").unlink()
    (folder / "a.tsv").write_bytes(b'n\ttext\n1\t"open\n2\ta 5" pipe\n')
    assert [text for text, _ in read(tmp_path, folder, csv={"quote": None})] == ['"open', 'a 5" pipe']


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (b"n;text\n1;hello\n", 'csv: {delimiter: ";"}'),
        (b"n\ttext\n1\thello\n", 'csv: {delimiter: "\\t"}'),
        (b'n,text\n1,"a \\"b, c\\" d"\n', 'csv: {escape: "\\\\"}'),
        (b"instruction,output\na,b\n", "format: alpaca"),
        (b"question,answer\n1+1?,2\n", "verifier: exact-answer"),
    ],
)
def test_a_table_that_is_written_otherwise_names_the_settings_that_read_it(
    tmp_path: Path, folder: Path, content: bytes, remedy: str
) -> None:
    (folder / "a.csv").write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        read(tmp_path, folder)
    assert remedy in caught.value.fix
    assert "max_bad_share" not in caught.value.fix


def test_columns_of_one_name_are_refused_where_they_are_read(tmp_path: Path, folder: Path) -> None:
    (folder / "a.csv").write_bytes(b"text,n,n\nhello,1,2\n")
    assert [text for text, _ in read(tmp_path, folder)] == ["hello"]
    (folder / "a.csv").write_bytes(b"text,n,text\nfirst,1,second\n")
    with pytest.raises(ArtifactError, match="two columns are called 'text'"):
        read(tmp_path, folder)
    (folder / "a.csv").unlink()
    pq.write_table(pa.table([["first"], ["second"]], names=["text", "text"]), folder / "a.parquet")
    with pytest.raises(ArtifactError, match="two columns are called 'text'"):
        read(tmp_path, folder)
    (folder / "a.parquet").unlink()
    (folder / "a.jsonl").write_bytes(b'{"text": "one"}\n{"text": "first", "text": "second"}\n')
    with pytest.raises(ArtifactError, match=r"repeated-key: two values of 'text'"):
        read(tmp_path, folder)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt", "a.csv.gz"])
def test_a_file_of_utf_16_says_so(tmp_path: Path, folder: Path, name: str) -> None:
    content = "n,text\n1,hello\n".encode("utf-16")
    (folder / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(ArtifactError, match="UTF-16") as caught:
        read(tmp_path, folder)
    assert "iconv -f utf-16" in caught.value.fix


def test_a_name_that_is_no_text_is_refused_before_anything_is_read(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.jsonl")).write_bytes(jsonl({"text": "one"}))
    with pytest.raises(ArtifactError, match="name of a file is not UTF-8") as caught:
        source(folder).external_inputs()
    str(caught.value).encode()


def test_empty_files_are_passed_over_and_counted(tmp_path: Path, folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(b"")
    (folder / "b.csv").write_bytes(b"")
    (folder / "c.csv").write_bytes(b"n,text\n")
    (folder / "d.json").write_bytes(b"[]")
    (folder / "e.json").write_bytes(b" ")
    (folder / "f.jsonl").write_bytes(jsonl({"text": "x y"}))
    out, run, _ = execute(tmp_path, source(folder))
    assert list(Corpus(out).texts()) == ["x y"]
    assert run.summary["empty_files"] == 5


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson", "a.json.gz"])
@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_of_rows_in_any_file_of_json(tmp_path: Path, folder: Path, name: str, indent: int | None) -> None:
    rows = [{"text": f"row {number} " + "[,]{" * (number % 7 * 1_500)} for number in range(60)]
    content = json.dumps(rows, indent=indent).encode()
    (folder / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    found = read(tmp_path, folder, max_compression_ratio=10_000)
    assert [text for text, _ in found] == [row["text"] for row in rows]
    assert found[-1][1] == f"{name}#60"


def test_json_lines_in_a_file_called_json(tmp_path: Path, folder: Path) -> None:
    (folder / "a.json").write_bytes(jsonl({"text": "one"}, {"text": "two"}))
    assert read(tmp_path, folder) == [("one", "a.json:1"), ("two", "a.json:2")]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'[{"text": "one"}, {"text": ]', "item a.json#2: Expecting value"),
        (b'[{"text": "one"}', "no ']' where one must be"),
        (b'[{"text": "one"} {"text": "two"}]', "no ']' where one must be"),
        (b'[{"text": "one"}]\n[{"text": "two"}]', "more follows after the array"),
        (b'[{"text": "' + b"x" * 5_000 + b'"', "item a.json#1"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{\n "data": [\n  {"text": "one"}\n ]\n}\n', "one JSON object, laid out over lines"),
        (b'{"data": [{"text": "one"}]}\n', "no column 'text'; the columns are 'data'"),
    ],
)
def test_what_is_no_list_of_rows_is_refused(tmp_path: Path, folder: Path, content: bytes, problem: str) -> None:
    (folder / "a.json").write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        read(tmp_path, folder, max_record_bytes=1_000)
    assert problem in str(caught.value)
    assert caught.value.fix


def test_items_of_an_array_that_cannot_be_read_are_left_out_one_by_one(tmp_path: Path, folder: Path) -> None:
    content = (
        b'[{"text": "one"}, 3, {"text": "\xff"}, {"text": "a", "text": "b"}, {"text": "' + b"x" * 2_000 + b'"}, {"text": "two"}]'
    )
    (folder / "a.json").write_bytes(content)
    out, run, _ = execute(tmp_path, source(folder, max_bad_share=0.7, max_record_bytes=1_000))
    assert list(Corpus(out).texts()) == ["one", "two"]
    assert run.summary["read"] == 6
    assert {name for name in run.summary if name.startswith("rejected.")} == {
        f"rejected.unreadable.{reason}" for reason in ("malformed-json", "bad-utf8", "repeated-key", "too-long")
    }


def test_a_column_that_is_not_read_may_change_its_type(tmp_path: Path, folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(jsonl({"text": "one", "score": None}))
    (folder / "b.jsonl").write_bytes(jsonl({"text": "two", "score": "high"}))
    assert [text for text, _ in read(tmp_path, folder)] == ["one", "two"]


def test_an_answer_that_is_nan_is_missing_in_every_type_of_file(tmp_path: Path, folder: Path) -> None:
    pq.write_table(pa.table({"prompt": ["1+1", "2+2"], "answer": [float("nan"), 4.0]}), folder / "a.parquet")
    (folder / "b.jsonl").write_bytes(b'{"prompt": "1+2", "answer": NaN}\n')
    out, run, _ = execute(tmp_path, source(folder, produces="problems", verifier="exact-answer", heldout=0, max_bad_share=0.7))
    assert [row["answer"] for row in examples.read(out, "train")] == ["4.0"]
    assert run.summary["rejected.unreadable.missing-value"] == 2


def test_structs_of_a_table_lose_the_nulls_that_fill_them_up(tmp_path: Path, folder: Path) -> None:
    calls = [
        [{"function": {"name": name, "arguments": given}}]
        for name, given in (("depth", {"well": 3}), ("weather", {"town": "Lugo"}))
    ]
    turns = [[{"role": "user", "content": "x"}, {"role": "assistant", "content": None, "tool_calls": call}] for call in calls]
    pq.write_table(pa.table({"messages": turns}), folder / "a.parquet")
    out, _, _ = execute(tmp_path, source(folder, produces="conversations", heldout=0))
    made = [row["messages"][1]["tool_calls"][0]["function"]["arguments"] for row in examples.read(out, "train")]
    assert made == ['{"well": 3}', '{"town": "Lugo"}']


def test_columns_with_meaning_are_read_from_tables_too(tmp_path: Path, folder: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a"], "completion": ["b"], "input": ["c"], "other": [1]}), folder / "a.parquet")
    with pytest.raises(ArtifactError, match="unread-field: 'input'"):
        execute(tmp_path, source(folder, produces="conversations"))


def test_blank_lines_of_a_csv_are_no_rows(tmp_path: Path, folder: Path) -> None:
    (folder / "a.csv").write_bytes(b"text,n\n\ngood,1\n\nbetter,2\n\n\n")
    assert read(tmp_path, folder, max_bad_share=0) == [("good", "a.csv:3"), ("better", "a.csv:5")]


def test_a_source_that_a_row_lacks_is_that_of_the_file(tmp_path: Path, folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "a.jsonl").write_bytes(jsonl({"text": "one", "site": None}, {"text": "two", "site": "there"}))
    out, _, _ = execute(tmp_path, source(folder, columns={"source": "site"}, max_bad_share=0))
    assert {row["text"]: row["source"] for row in Corpus(out).rows()} == {"one": "sub", "two": "there"}


def test_values_that_are_missing_are_bad_rows(tmp_path: Path, folder: Path) -> None:
    calls = {"messages": [{"role": "user", "content": "do"}, {"role": "assistant", "content": None}]}
    good = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}
    (folder / "a.jsonl").write_bytes(jsonl(good, calls, calls))
    with pytest.raises(ArtifactError, match=r"2 of 3 records are unreadable.*missing-value"):
        execute(tmp_path, source(folder, produces="conversations", max_bad_share=0.5))


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ("plain text", "not-messages"),
        ('[{"role": "user"', "malformed-json"),
        ([{"role": "user", "content": "hi"}], "no-answer"),
        ("[1, 2]", "not-messages"),
    ],
)
def test_what_is_no_conversation_is_a_bad_row(tmp_path: Path, folder: Path, messages: object, reason: str) -> None:
    (folder / "a.jsonl").write_bytes(jsonl({"messages": messages}))
    with pytest.raises(ArtifactError, match=f"1 of 1 records are unreadable.*{reason}"):
        execute(tmp_path, source(folder, produces="conversations", max_bad_share=0.5))


def test_messages_as_json_text_however_it_is_laid_out(tmp_path: Path, folder: Path) -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    (folder / "a.jsonl").write_bytes(jsonl({"messages": json.dumps(turns, indent=2)}))
    out, _, _ = execute(tmp_path, source(folder, produces="conversations", heldout=0))
    assert [row["messages"] for row in examples.read(out, "train")] == [turns]


def test_a_prompt_that_looks_like_a_list_is_text(tmp_path: Path, folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(jsonl({"prompt": "[{x: 1}] what is this?", "completion": "[1, 2]"}))
    out, _, _ = execute(tmp_path, source(folder, produces="conversations", columns={"messages": None}, heldout=0))
    ((asked, answered),) = [row["messages"] for row in examples.read(out, "train")]
    assert (asked["content"], answered["content"]) == ("[{x: 1}] what is this?", "[1, 2]")


def test_a_message_of_the_system_decides_no_split(tmp_path: Path, folder: Path) -> None:
    def turns(number: int) -> list[dict[str, str]]:
        said = {"system": "You help.", "user": f"question {number % 200}", "assistant": f"answer {number}"}
        return [{"role": role, "content": content} for role, content in said.items()]

    (folder / "a.jsonl").write_bytes(jsonl(*[{"messages": turns(number)} for number in range(400)]))
    out, _, _ = execute(tmp_path, source(folder, produces="conversations", heldout=0.2))
    asked = {split: {row["messages"][1]["content"] for row in examples.read(out, split)} for split in examples.SPLITS}
    assert not asked["train"] & asked["heldout"]
    assert 20 <= len(asked["heldout"]) <= 60


def test_rows_that_come_again_are_counted(tmp_path: Path, folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(jsonl(*[{"prompt": f"q{number % 10}", "completion": "a"} for number in range(100)]))
    _, run, _ = execute(tmp_path, source(folder, produces="conversations", columns={"messages": None}))
    assert (run.summary["read"], run.summary["kept"], run.summary["rejected.source.repeated"]) == (100, 10, 90)


def write_table(folder: Path, suffix: str) -> None:
    if suffix == "csv":
        (folder / "a.csv").write_text("body,site\nhello,s\n", encoding="utf-8")
    elif suffix == "parquet":
        pq.write_table(pa.table({"body": ["hello"], "site": ["s"]}), folder / "a.parquet")
    else:
        (folder / "a.jsonl").write_bytes(jsonl({"body": "hello", "site": "s"}))


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_wrong_columns_name_those_that_are_there_and_the_map_mends_it(tmp_path: Path, folder: Path, suffix: str) -> None:
    write_table(folder, suffix)
    with pytest.raises(ArtifactError, match="no column 'text'; the columns are 'body', 'site'") as caught:
        read(tmp_path, folder)
    assert caught.value.where.startswith(f"a.{suffix}")
    assert "columns:" in caught.value.fix
    again = tmp_path / "again"
    again.mkdir()
    out, _, _ = execute(again, source(folder, columns={"text": "body", "source": "site"}))
    assert [(row["text"], row["source"]) for row in Corpus(out).rows()] == [("hello", "s")]


def test_missing_path_and_folder_without_known_files(folder: Path) -> None:
    with pytest.raises(ArtifactError, match="no such file or folder") as caught:
        source(folder / "none").external_inputs()
    assert "set `path`" in caught.value.fix
    (folder / "a.pdf").write_bytes(b"%PDF")
    with pytest.raises(ArtifactError, match=r"no file of a known type; found \.pdf"):
        source(folder).external_inputs()


def test_decompression_bombs_stop_at_the_ratio_and_at_the_size(tmp_path: Path, folder: Path) -> None:
    bomb = folder / "a.jsonl.gz"
    bomb.write_bytes(gzip.compress(b'{"text": "' + b"x" * 20_000_000 + b'"}\n'))
    with pytest.raises(ArtifactError, match="more than 200 times its size"):
        read(tmp_path, folder)
    with pytest.raises(ArtifactError, match="more than 1000000 bytes"):
        read(tmp_path, folder, max_compression_ratio=10_000, max_decompressed_bytes=1_000_000)
    pq.write_table(pa.table({"text": ["x" * 9_000_000]}), folder / "b.parquet", use_dictionary=False, compression="zstd")
    bomb.unlink()
    with pytest.raises(ArtifactError, match="more than 200 times its size"):
        read(tmp_path, folder)


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_truncated_and_corrupt_archives_name_the_file(tmp_path: Path, folder: Path, suffix: str) -> None:
    whole = tmp_path / "whole"
    with pa.CompressedOutputStream(str(whole), {"gz": "gzip", "zst": "zstd"}[suffix]) as stream:
        stream.write(b"".join(jsonl({"text": f"row {number * 7919 % 1009}"}) for number in range(5_000)))
    for content in (whole.read_bytes()[:-500], b"not an archive at all"):
        (folder / f"a.jsonl.{suffix}").write_bytes(content)
        with pytest.raises(ArtifactError, match="can't be read") as caught:
            read(tmp_path, folder)
        assert caught.value.where == f"a.jsonl.{suffix}"


def test_archives_of_several_members_are_read_whole(tmp_path: Path, folder: Path) -> None:
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(jsonl({"text": "one"})) + gzip.compress(jsonl({"text": "two"})))
    assert [text for text, _ in read(tmp_path, folder)] == ["one", "two"]


def test_conversations_preferences_and_problems(tmp_path: Path, folder: Path) -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    made = {
        "conversations": {"messages": turns},
        "preferences": {"prompt": "hi", "chosen": "hello", "rejected": [{"role": "assistant", "content": "no"}]},
        "problems": {"prompt": "1+1?", "answer": 2},
    }
    for produces, row in made.items():
        (folder / "a.jsonl").write_bytes(jsonl(*[{**row, "extra": 1}] * 2, {"prompt": 3, "messages": [], "answer": ""}))
        place = tmp_path / produces
        place.mkdir()
        files = source(folder, produces=produces, verifier="exact", max_bad_share=0.5, heldout=0)
        assert files.produces == produces
        out, run, _ = execute(place, files)
        examples.validate(out, produces)
        assert run.summary["train_rows"] == 1
        assert run.summary["heldout_rows"] == 0
    (problem,) = examples.read(tmp_path / "problems" / "out", "train")
    assert (problem["answer"], problem["verifier"]) == ("2", "exact")
    (preference,) = examples.read(tmp_path / "preferences" / "out", "train")
    assert preference["chosen"] == [{"role": "assistant", "content": "hello"}]


def test_prompt_and_completion_make_conversations_and_prompts_stay_in_one_split(tmp_path: Path, folder: Path) -> None:
    rows = "".join(f"q{number % 50},a{number}\n" for number in range(200))
    (folder / "a.csv").write_text(f"prompt,completion\n{rows}", encoding="utf-8")
    out, _, _ = execute(tmp_path, source(folder, produces="conversations", columns={"messages": None}, heldout=0.3))
    prompts = {split: {row["messages"][0]["content"] for row in examples.read(out, split)} for split in examples.SPLITS}
    assert not prompts["train"] & prompts["heldout"]
    assert len(prompts["train"]) + len(prompts["heldout"]) == 50
    assert 5 <= len(prompts["heldout"]) <= 26


def test_plain_text_gives_only_a_corpus(tmp_path: Path, folder: Path) -> None:
    (folder / "a.txt").write_text("hi", encoding="utf-8")
    with pytest.raises(ArtifactError, match="a text file can't give problems"):
        execute(tmp_path, source(folder, produces="problems"))


def test_documents_are_plain_records(folder: Path, tmp_path: Path) -> None:
    (folder / "a.jsonl").write_bytes(jsonl({"text": "one"}))
    run = make_run(tmp_path)
    files = source(folder)
    assert list(files.records(run)) == [Document("one", "jsonl", {"origin": "a.jsonl:1"})]


@pytest.mark.parametrize(
    "texts", [["one small note", "another note", "the third"], ["\n\n".join(f"Paragraph {n} " + "word " * 200 for n in range(9))]]
)
def test_a_small_folder_of_texts_goes_through_the_split(tmp_path: Path, folder: Path, texts: list[str]) -> None:
    for number, text in enumerate(texts):
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    out, run, _ = execute(tmp_path, source(folder))
    Exact(ExactConfig(overlap=1)).execute({"corpus": out}, {name: tmp_path / name for name in Exact.outputs}, run)
    assert run.summary["train"] >= 1
    assert run.summary["heldout"] >= 1
