"""Rows that ask the same stand on one side of the split, and no other row moves them."""

from __future__ import annotations

import json
import re
import tempfile
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workbench_source_files import Files, FilesConfig

from workbench.artifacts import examples
from workbench.testing import make_run

VARIANTS: dict[str, Callable[[str], str]] = {
    "another system": lambda text: text,
    "a blank at its end": lambda text: f"{text} ",
    "a line break": lambda text: text.replace(" ", "\n", 1),
    "capitals": str.upper,
    "decomposed": lambda text: unicodedata.normalize("NFD", text),
    "full-width digits": lambda text: text.translate({ord(digit): chr(ord(digit) + 0xFEE0) for digit in "0123456789"}),
    "no question mark": lambda text: text.rstrip("?"),
    "line ends of Windows": lambda text: text.replace(" ", "\r\n", 1),
    "a zero-width blank": lambda text: text.replace("What", "What\u200b"),
}


def curated(rows: Sequence[Mapping[str, Any]], **config: Any) -> dict[str, list[dict[str, Any]]]:
    """The rows of each split."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        files = Files(FilesConfig.model_validate({"path": str(folder / "rows.jsonl"), "heldout": 0.1, **config}), {})
        files.execute({}, {"out": folder / "out", "decisions": folder / "decisions"}, make_run(folder))
        return {split: list(examples.read(folder / "out", split)) for split in examples.SPLITS}


def asked(row: Mapping[str, Any]) -> str:
    """The first question of a row."""
    return next(message["content"] for message in row.get("messages", row.get("prompt")) if message["role"] == "user")


def hill(row: Mapping[str, Any]) -> str:
    """The number in a row's question."""
    found = re.search(r"hill (\d+)", asked(row), re.IGNORECASE)
    assert found
    return found[1]


@pytest.mark.parametrize("produces", ["conversations", "preferences", "problems"])
def test_no_held_out_question_stands_in_training_however_it_is_written(produces: str) -> None:
    def row(number: int, variant: str) -> dict[str, Any]:
        content = VARIANTS[variant](f"What is the height of hill {number}, at the café?")
        prompt = [{"role": "system", "content": variant}, {"role": "user", "content": content}]
        answers = {"chosen": variant, "rejected": "no", "answer": "12"}
        return {"messages": [*prompt, {"role": "assistant", "content": variant}], "prompt": prompt, **answers}

    rows = [row(number, variant) for number in range(200) for variant in VARIANTS]
    found = curated(rows, produces=produces, verifier="exact-answer")
    hills = {split: {hill(row) for row in found[split]} for split in examples.SPLITS}
    assert not hills["train"] & hills["heldout"]
    assert 8 <= len(hills["heldout"]) <= 40
    assert len(found["train"]) + len(found["heldout"]) == len(rows)


@given(
    st.lists(
        st.lists(st.text(alphabet="aAéß 한\u200b", min_size=1, max_size=4).filter(str.strip), min_size=1, max_size=3),
        min_size=1,
        max_size=8,
    )
)
def test_rows_that_ask_the_same_first_have_one_side(conversations: list[list[str]]) -> None:
    """Whatever is said later, and by the system."""
    rows = []
    for number, turns in enumerate(conversations):
        for variant, contents in enumerate(([turns[0]], [f"\n{turns[0].upper()} ", *turns[1:]])):
            said = [{"role": "user", "content": unicodedata.normalize("NFD", content)} for content in contents]
            answer = {"role": "assistant", "content": f"{number} {variant}"}
            rows += [{"messages": [{"role": "system", "content": turns[-1]}, *said, answer]}, {"messages": [*said, answer]}]
    found = curated(rows, produces="conversations", heldout=0.5)
    answered = {split: {row["messages"][-1]["content"].split()[0] for row in found[split]} for split in examples.SPLITS}
    assert not answered["train"] & answered["heldout"]
    assert len(answered["train"] | answered["heldout"]) == len(conversations)


def test_one_more_row_on_top_changes_no_id_and_no_side() -> None:
    rows = [{"prompt": f"question {number}", "completion": f"answer {number}"} for number in range(200)]
    found = []
    for order in (rows, [{"prompt": "new", "completion": "one"}, *rows]):
        splits = curated(order, produces="conversations", columns={"messages": None})
        found.append({(row["id"], split) for split in examples.SPLITS for row in splits[split]})
    assert found[0] < found[1]
    assert len(found[1]) == 201
