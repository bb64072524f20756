"""What the base class of sources refuses."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workbench_reward_exact_answer import ExactAnswer, ExactAnswerConfig
from workbench_reward_format import Format, FormatConfig

from workbench.artifacts import examples
from workbench.artifacts.corpus import Corpus, Document, validate
from workbench.artifacts.examples import Message, Problem
from workbench.errors import ArtifactError, ParamsError, PluginError
from workbench.kinds.source import Source
from workbench.plugin import Config
from workbench.run import Run
from workbench.testing import make_run


class Bare(Source[Config]):
    """Documents without meta."""

    name = "bare"
    Config = Config
    produces = "corpus"
    meta_fields: ClassVar[tuple[str, ...]] = ()

    def records(self, run: Run) -> Iterator[Document]:
        """One document."""
        yield Document("Some text.", "here")


def test_a_corpus_without_meta_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    """Parquet has no empty struct: without the check, pyarrow fails when the first shard is written."""
    run = make_run(tmp_path)
    with pytest.raises(PluginError, match="has no fields") as caught:
        Bare(Config()).execute({}, {"out": tmp_path / "out", "decisions": tmp_path / "decisions"}, run)
    assert "meta_fields" in caught.value.fix
    assert not (tmp_path / "out").exists()


class Told(Source[Config]):
    """The documents that it is told."""

    name = "told"
    Config = Config
    produces = "corpus"
    texts: tuple[str, ...] = ()

    def records(self, run: Run) -> Iterator[Document]:
        """A document per text, with the place where it stands."""
        for line, text in enumerate(self.texts):
            yield Document(text, "here", {"origin": f"file:{line}"})


def curated(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Id and text of what comes out."""
    source = Told(Config())
    source.texts = tuple(texts)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source.execute({}, {"out": folder / "out", "decisions": folder / "decisions"}, make_run(folder))
        validate(folder / "out")
        return [(row["id"], row["text"]) for row in Corpus(folder / "out").rows(["id", "text"])]


@given(st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=12), st.text(min_size=1, max_size=3), st.integers(0, 12))
def test_one_more_row_changes_no_other_id(texts: list[str], more: str, place: int) -> None:
    """Whatever stands where, each text has the same ids, one for each time that it is there."""
    before = curated(texts)
    after = curated([*texts[:place], more, *texts[place:]])
    assert [text for _, text in before] == texts
    assert set(before) < set(after)
    assert len(set(after)) == len(texts) + 1
    assert {text for pair in set(after) - set(before) for text in pair[1:]} == {more}


def test_the_same_row_twice_is_counted_and_left_out(tmp_path: Path) -> None:
    class Twice(Bare):
        meta_fields: ClassVar[tuple[str, ...]] = ("origin",)

        def records(self, run: Run) -> Iterator[Document]:
            for origin in ("a", "a", "b"):
                yield Document("Some text.", "here", {"origin": origin})

    run = make_run(tmp_path)
    Twice(Config()).execute({}, {"out": tmp_path / "out", "decisions": tmp_path / "decisions"}, run)
    identity = Document("Some text.", "elsewhere").id
    assert Corpus(tmp_path / "out").ids() == [identity, f"{identity}-2"]
    assert run.summary["rejected.source.repeated"] == 1


class Sums(Source[Config]):
    """Problems whose answers stand at the end of a solution, and one that forgets it."""

    name = "sums"
    Config = Config
    produces = "problems"

    def records(self, run: Run) -> Iterator[Problem]:
        """Two for training, one held out."""
        for number, answer in enumerate(("1 + 1 = 2\n#### 2", "500 + 500\n#### 1,000", "It is\n#### ")):
            asked: Message = {"role": "user", "content": f"Question {number}"}
            yield Problem((asked,), answer, "exact-answer", "heldout" if number == 2 else "train")


def test_every_right_answer_is_asked_of_its_verifier_where_the_source_lists_it(tmp_path: Path) -> None:
    verifier = ExactAnswer(ExactAnswerConfig(part="last-number"))
    outputs = {"out": tmp_path / "out", "decisions": tmp_path / "decisions"}
    with pytest.raises(ArtifactError, match=r"'exact-answer' gives 1 of 1 right answers another score than 1") as caught:
        Sums(Config(), {"verifiers": [verifier]}).execute({}, outputs, make_run(tmp_path, stage="curate.sums"))
    (row,) = examples.read(tmp_path / "out", "heldout")
    assert caught.value.where == f"curate.sums, split heldout, row {row['id']}"
    assert "use: exact-answer` under `verifiers:`" in caught.value.fix


def test_verifiers_are_those_that_the_problems_name(tmp_path: Path) -> None:
    outputs = {"out": tmp_path / "out", "decisions": tmp_path / "decisions"}
    with pytest.raises(ArtifactError, match="'exact-answer', which is not among the rewards under `verifiers:`"):
        Sums(Config(), {"verifiers": [Format(FormatConfig())]}).execute({}, outputs, make_run(tmp_path))
    with pytest.raises(ParamsError, match="verifiers apply to problems, and 'bare' produces corpus"):
        Bare(Config(), {"verifiers": [Format(FormatConfig())]}).execute({}, outputs, make_run(tmp_path))
