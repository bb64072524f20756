"""Source `mixture`: whose rows it has, what becomes of problems, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from workbench_source_arithmetic import Arithmetic, ArithmeticConfig
from workbench_source_files import Files, FilesConfig
from workbench_source_mixture import Mixture, MixtureConfig

from workbench.artifacts import examples, formats
from workbench.errors import ParamsError
from workbench.testing import make_run

PROBLEMS = ArithmeticConfig(operations=("add",), train=30, heldout=10)


def chat(folder: Path) -> Files:
    file = folder / "chat.jsonl"
    turns = '[{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}]'
    file.write_text('{"messages": ' + turns + '}\n{"messages": []}\n', encoding="utf-8")
    return Files(FilesConfig(path=str(file), produces="conversations", heldout=0.0, max_bad_share=0.5))


def test_it_holds_the_rows_of_every_source(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    mixture = Mixture(MixtureConfig(answer="It is {answer}."), {"sources": [chat(tmp_path), Arithmetic(PROBLEMS)]})
    mixture.execute({}, {"out": tmp_path / "out", "decisions": tmp_path / "decisions"}, run)
    formats.BUILT_IN["conversations"].validate(tmp_path / "out")
    problems = list(Arithmetic(PROBLEMS).records(run))
    for split in examples.SPLITS:
        rows = {row["messages"][0]["content"]: row["messages"][-1]["content"] for row in examples.read(tmp_path / "out", split)}
        expected = {p.prompt[0]["content"]: f"It is {p.answer}." for p in problems if p.split == split}
        assert rows == expected | ({"Hello": "Good day"} if split == "train" else {})
    assert run.summary["rows.files"] == 1
    assert run.summary["rows.arithmetic"] == 40
    assert run.summary["read"] == 42


def test_a_question_stands_on_one_side_whatever_the_sources_hold_out(tmp_path: Path) -> None:
    sources = []
    for share, end in ((0.2, "?"), (0.5, "? ")):
        rows = [
            {"messages": [{"role": "user", "content": f"Why {n}{end}"}, {"role": "assistant", "content": f"{share}"}]}
            for n in range(100)
        ]
        file = tmp_path / f"{share}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        sources.append(Files(FilesConfig(path=str(file), produces="conversations", heldout=share)))
    run = make_run(tmp_path)
    mixture = Mixture(MixtureConfig(), {"sources": sources})
    mixture.execute({}, {"out": tmp_path / "out", "decisions": tmp_path / "decisions"}, run)
    found = {
        split: [row["messages"][0]["content"].strip() for row in examples.read(tmp_path / "out", split)]
        for split in examples.SPLITS
    }
    assert not set(found["train"]) & set(found["heldout"])
    left_out = run.summary["rejected.unreadable.question-in-other-split"]
    assert 10 < left_out < 60
    assert len(found["train"]) + len(found["heldout"]) == 200 - left_out == run.summary["rows.files"]


def test_what_cannot_be_mixed_is_refused() -> None:
    with pytest.raises(ParamsError, match="no source"):
        Mixture(MixtureConfig())
    with pytest.raises(ParamsError, match="'files', which produces corpus"):
        Mixture(MixtureConfig(), {"sources": [Files(FilesConfig(path="somewhere"))]})


def test_what_sources_of_one_kind_count_is_added_up(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    Mixture(MixtureConfig(), {"sources": [chat(tmp_path / "a"), chat(tmp_path / "b")]}).execute(
        {}, {"out": tmp_path / "out", "decisions": tmp_path / "decisions"}, run
    )
    assert run.summary["format.messages"] == 2
    assert (run.summary["read"], run.summary["kept"]) == (4, 1)
    assert run.summary["rejected.unreadable.missing-value"] + run.summary["rejected.source.repeated"] == 3
    assert len(run.listener.tables["quarantine"]) == 2
