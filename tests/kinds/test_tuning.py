"""What the evaluation `perplexity` reads stays out of what sft and align train on."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.artifacts import corpus, examples, model
from workbench.artifacts.corpus import Document
from workbench.artifacts.examples import Conversation, Example, Message, Preference, Problem
from workbench.errors import ArtifactError
from workbench.kinds.align import AlignStage
from workbench.kinds.sft import SftStage
from workbench.plugin import Config
from workbench.run import Run
from workbench.testing import make_run


class Seen(SftStage[Config]):
    """Trains nothing, and remembers its rows."""

    name = "seen"
    Config = Config

    def finetune(self, model: Path, conversations: Path, out: Path, run: Run) -> None:
        self.rows = {split: list(examples.read(conversations, split)) for split in examples.SPLITS}
        write_log(out)


class SeenAligned(AlignStage[Config]):
    """The same for align, with inputs of its own."""

    name = "seen"
    Config = Config
    inputs = {"model": "model", "data": "problems"}  # noqa: RUF012

    def align(self, model: Path, data: Path, out: Path, run: Run) -> None:
        self.rows = {split: list(examples.read(data, split)) for split in examples.SPLITS}
        write_log(out)


def write_log(out: Path) -> None:
    out.mkdir(parents=True)
    (out / model.TRAINING_LOG).write_text("step,loss\n1,2.0\n", encoding="utf-8")


def said(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def conversation(answer: str, question: str = "What is it?", split: Any = "train") -> Conversation:
    return Conversation((said("user", question), said("assistant", answer)), split)


def trained(
    stage: Seen | SeenAligned, rows: Sequence[Example], texts: Sequence[str] | None
) -> tuple[Mapping[str, list[dict[str, Any]]], Any]:
    """What the plugin is given, and the run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        examples.write(folder / "data", rows, type(rows[0]).schema)
        inputs = {"model": folder / "model", "data": folder / "data"}
        if texts is not None:
            made = ({"id": Document(t, "s").id, "text": t, "source": "s", "meta": {"origin": "o"}} for t in texts)
            corpus.write(folder / "heldout", made, corpus.schema(("origin",)))
            inputs["heldout"] = folder / "heldout"
        run = make_run(folder)
        stage.execute(inputs, {"out": folder / "out"}, run)
        return stage.rows, run


DOCUMENT = "The old ferry leaves the harbour at eight, with nine goats and the mayor of the island aboard."


@pytest.mark.parametrize(
    ("text", "left_out"),
    [
        ("Know this: THE OLD FERRY leaves\nthe harbour at eight; with nine goats!", True),
        ("the mayor of the island", True),
        ("the mayor of an island with goats and an old ferry aboard", False),
        ("the old ferry", False),  # fewer words than a shingle
        ("Something else is said in this answer.", False),
    ],
)
def test_a_row_that_repeats_a_held_out_document_is_left_out_and_counted(text: str, left_out: bool) -> None:
    rows = [conversation("Nothing that the document says."), conversation(text), conversation(text, "And then?", "heldout")]
    found, run = trained(Seen(Config()), rows, [DOCUMENT, "Another text that is held out too."])
    assert len(found["train"]) == (1 if left_out else 2)
    assert len(found["heldout"]) == 1
    assert run.summary["removed_overlap_heldout"] == left_out
    if left_out:
        assert [row["text"] for row in run.listener.tables["overlaps-heldout"]] == [text]


def test_questions_and_both_answers_count_and_every_align_plugin_can_be_given_held_out_documents() -> None:
    short = (said("assistant", "no"),)
    rows: list[Example] = [
        Preference((said("user", "Who is there?"),), (said("assistant", DOCUMENT),), short),
        Preference((said("user", "Who is it?"),), short, (said("assistant", DOCUMENT),)),
        Preference((said("user", f"Sum up: {DOCUMENT}"),), short, (said("assistant", "yes"),)),
        Preference((said("user", "Who then?"),), short, (said("assistant", "yes"),)),
    ]
    found, _ = trained(SeenAligned(Config()), rows, [DOCUMENT])
    assert [row["prompt"][0]["content"] for row in found["train"]] == ["Who then?"]
    problems = [Problem((said("user", "Who?"),), answer, "exact-answer") for answer in (DOCUMENT, "8")]
    found, _ = trained(SeenAligned(Config()), problems, [DOCUMENT])
    assert [row["answer"] for row in found["train"]] == ["8"]
    assert SeenAligned.inputs["heldout"] == "corpus"


def test_without_held_out_documents_the_data_are_as_they_were() -> None:
    found, run = trained(Seen(Config()), [conversation(DOCUMENT)], None)
    assert len(found["train"]) == 1
    assert "removed_overlap_heldout" not in run.summary


def test_no_row_left_is_an_error_that_says_why() -> None:
    with pytest.raises(ArtifactError, match="all 1 training rows repeat held-out documents") as caught:
        trained(Seen(Config()), [conversation(DOCUMENT)], [DOCUMENT])
    assert "heldout" in caught.value.fix


TEXTS = st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=12).map(" ".join), min_size=1, max_size=6, unique=True)


@settings(max_examples=50, deadline=None)
@given(TEXTS, TEXTS)
def test_no_row_that_is_left_shares_half_of_its_shingles_and_all_rows_are_counted(answers: list[str], texts: list[str]) -> None:
    def grams(text: str) -> set[str]:
        return {text[place : place + 9] for place in range(0, max(1, len(text) - 8), 2)}

    rows = [conversation("a row that is always left"), *map(conversation, answers)]
    found, run = trained(Seen(Config()), rows, texts)
    kept = [row["messages"][1]["content"] for row in found["train"]]
    wanted = [
        answer
        for answer in answers
        if len(answer) < 9
        or all(len(grams(answer) & grams(text)) < min(len(grams(answer)), len(grams(text))) / 2 for text in texts)
    ]
    assert kept[1:] == wanted
    assert len(kept) + run.summary["removed_overlap_heldout"] == len(rows)
