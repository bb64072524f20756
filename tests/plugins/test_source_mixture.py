"""Source `mixture`: whose rows it has, what becomes of problems, and what it refuses."""

from __future__ import annotations

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
