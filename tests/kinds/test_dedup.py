"""The kind `dedup`: clusters, the split, decontamination, and what is written about them."""

from __future__ import annotations

import tempfile
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.artifacts import benchmark, corpus, table
from workbench.artifacts.benchmark import Question
from workbench.artifacts.corpus import Corpus, Document
from workbench.artifacts.shingles import ShingleSets, shared, shingle
from workbench.errors import ArtifactError, PluginError
from workbench.kinds.dedup import Clusters, DedupConfig, DedupStage
from workbench.run import Run
from workbench.testing import make_run


class ByFirstWord(DedupStage[DedupConfig]):
    """Documents with the same first word are duplicates."""

    name = "by-first-word"
    Config = DedupConfig

    def find_duplicates(self, corpus: Corpus, run: Run) -> Clusters:
        return Clusters.from_keys(text.split()[0] for text in corpus.texts())


class Mistaken(ByFirstWord):
    """Gives one label too few."""

    def find_duplicates(self, corpus: Corpus, run: Run) -> Clusters:
        return Clusters(np.arange(len(corpus) - 1))


def words(name: str, number: int = 30) -> str:
    """A text of which no other name's text has a shingle."""
    return " ".join(f"{name}{place}" for place in range(number))


def documents(texts: Iterable[str]) -> list[Document]:
    return [Document(text, "book", {"origin": f"t{place}"}) for place, text in enumerate(texts)]


def write_corpus(directory: Path, made: Sequence[Document]) -> Path:
    rows = ({"id": d.id, "text": d.text, "source": d.source, "meta": dict(d.meta)} for d in made)
    corpus.write(directory, rows, corpus.schema(("origin",)))
    return directory


def dedup(
    tmp_path: Path,
    made: Sequence[Document],
    questions: Sequence[Question] = (),
    seed: int = 0,
    stage: type[DedupStage[DedupConfig]] = ByFirstWord,
    **config: float,
) -> tuple[Path, Any, Any]:
    """Run the stage; returns its folder, the run and the recorder."""
    run = make_run(tmp_path, seed)
    inputs = {"corpus": write_corpus(tmp_path / "corpus", made)}
    if questions:
        benchmark.write(tmp_path / "benchmark", questions, "test")
        inputs["benchmark"] = tmp_path / "benchmark"
    out = tmp_path / f"out{seed}"
    stage(DedupConfig(**config)).execute(inputs, {name: out / name for name in DedupStage.outputs}, run)
    return out, run, run.listener


def decisions(out: Path) -> dict[str, Mapping[str, Any]]:
    return {row["id"]: row for row in table.read_rows(out / "decisions")}


class Alone(ByFirstWord):
    """No document is a duplicate."""

    def find_duplicates(self, corpus: Corpus, run: Run) -> Clusters:
        return Clusters(np.arange(len(corpus)))


def sides(made: Sequence[Document], **options: Any) -> dict[str, str]:
    """The split of every document by its text."""
    with tempfile.TemporaryDirectory() as folder:
        out, _, _ = dedup(Path(folder), made, **options)
        rows = decisions(out)
    return {document.text: rows[document.id]["split"] for document in made}


def question(document: Document, answer: str) -> Question:
    return Question("what?", ("no", answer, "nor this"), 1, document.id, "g")


def test_clusters_from_keys_and_pairs_are_the_same_partition() -> None:
    by_key = Clusters.from_keys("abacb")
    by_pair = Clusters.from_pairs(5, np.array([0, 4]), np.array([2, 1]))
    assert by_key.firsts().tolist() == by_pair.firsts().tolist() == [0, 1, 0, 3, 1]


@pytest.mark.parametrize("labels", [np.zeros((2, 2), np.int64), np.array([0.5, 1])])
def test_clusters_refuse_what_is_no_vector_of_integers(labels: Any) -> None:
    with pytest.raises(PluginError, match="vector of integers"):
        Clusters(labels)


def test_every_cluster_keeps_its_first_document_and_no_cluster_is_in_both_splits(tmp_path: Path) -> None:
    made = documents(f"{words(f'k{place % 40}x')} {words(f'own{place}', 3)}" for place in range(120))
    out, run, _ = dedup(tmp_path, made, heldout=0.25)
    rows = decisions(out)
    assert list(rows) == [document.id for document in made]
    kept = [row for row in rows.values() if row["kept"]]
    assert [row["id"] for row in kept] == [document.id for document in made[:40]]
    assert all(row["cluster"] == row["id"] and row["similar_to"] is None for row in kept)
    duplicate = rows[made[45].id]
    assert (duplicate["split"], duplicate["reason"], duplicate["similar_to"]) == ("none", "duplicate", made[5].id)
    assert 0.5 < duplicate["similarity"] < 1
    train, heldout = Corpus(out / "train").ids(), Corpus(out / "heldout").ids()
    assert sorted(train + heldout) == sorted(row["id"] for row in kept)
    assert run.summary["train"] == len(train)
    assert run.summary["heldout"] == len(heldout)
    assert run.summary["duplicates"] == 80
    assert 4 <= len(heldout) <= 18
    for name in ("train", "heldout"):
        corpus.validate(out / name)


def test_split_follows_the_seed_and_not_the_order(tmp_path: Path) -> None:
    made = documents(words(f"n{place}x") for place in range(60))
    drawn = []
    for number, (order, seed) in enumerate([(made, 0), (made[::-1], 0), (made, 1)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        out, _, _ = dedup(folder, order, seed=seed, heldout=0.3)
        drawn.append(set(Corpus(out / "heldout").ids()))
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("top", ["a line that nobody has read before and that is like no other", words("n7x") + " and more"])
def test_one_more_line_on_top_moves_no_other_row(top: str) -> None:
    texts = [words(f"n{place}x") for place in range(150)]
    before = sides(documents(texts), heldout=0.2)
    after = sides(documents([top, *texts]), heldout=0.2)
    assert {text: side for text, side in after.items() if text != top} | {words("n7x"): ""} == before | {words("n7x"): ""}
    assert list(before.values()).count("heldout") > 15


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=9).map(" ".join), min_size=4, max_size=14, unique=True),
    st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=9).map(" ".join), min_size=1, max_size=3, unique=True),
    st.randoms(use_true_random=False),
)
def test_no_row_crosses_the_split_whatever_rows_come(texts: list[str], more: list[str], order: Any) -> None:
    """Rows may be removed for what they share with new held-out ones; none that was trained on is ever held out."""
    fixed = [words("t" + letter) for letter in "klmnopqrstuvw"]  # so that chance leaves neither side empty
    before = sides(documents([*texts, *fixed]), heldout=0.4, stage=Alone, overlap=1)
    changed = [*texts, *fixed, *(text for text in more if text not in texts)]
    order.shuffle(changed)
    after = sides(documents(changed), heldout=0.4, stage=Alone, overlap=1)
    assert not [text for text in before if {before[text], after[text]} == {"train", "heldout"}]


@pytest.mark.parametrize("copy", [str.upper, lambda text: f" {text}\n", lambda text: unicodedata.normalize("NFD", text)])
def test_a_copy_in_another_form_has_its_side_and_moves_no_other(copy: Any) -> None:
    texts = [f"é{place} {words(f'n{place}x')}" for place in range(60)]
    before = sides(documents(texts), heldout=0.3)
    after = sides(documents([*map(copy, texts), *texts]), heldout=0.3, stage=Alone)
    assert after == before | {copy(text): before[text] for text in texts}


def test_a_repeated_text_moves_nothing(tmp_path: Path) -> None:
    """Its copies have ids of their own, and the first has the one that it had."""
    made = documents(words(f"n{place}x") for place in range(60))
    ids = [document.id for document in made]
    for name, order in (("once", ids), ("again", [*ids, *(f"{identity}-2" for identity in ids)])):
        (tmp_path / name).mkdir()
        rows = [{"id": i, "text": made[place % 60].text, "source": "s", "meta": {"origin": "o"}} for place, i in enumerate(order)]
        corpus.write(tmp_path / name / "corpus", rows, corpus.schema(("origin",)))
        out = {flow: tmp_path / name / flow for flow in DedupStage.outputs}
        ByFirstWord(DedupConfig(heldout=0.3)).execute({"corpus": tmp_path / name / "corpus"}, out, make_run(tmp_path))
    assert Corpus(tmp_path / "once" / "heldout").ids() == Corpus(tmp_path / "again" / "heldout").ids()


def test_benchmark_documents_are_held_out_in_place_of_their_copies(tmp_path: Path) -> None:
    made = documents([words("a"), f"{words('a')} more", words("b"), words("c"), words("d")])
    made[1] = Document(made[0].text + " copy", "book", {"origin": "copy"})
    questions = [question(made[1], "never seen answer of six words"), question(Document("gone", "x"), "another answer")]
    made = [Document("same " + d.text if place < 2 else d.text, d.source, d.meta) for place, d in enumerate(made)]
    questions[0] = question(made[1], "never seen answer of six words")
    out, run, _ = dedup(tmp_path, made, questions, heldout=0.01)
    rows = decisions(out)
    assert rows[made[1].id]["split"] == "heldout"
    assert rows[made[0].id]["reason"] == "duplicate"
    assert rows[made[0].id]["similar_to"] == made[1].id
    assert rows[made[1].id]["cluster"] == made[0].id
    assert run.summary["heldout_by_benchmark"] == 1
    assert run.summary["benchmark_documents_absent"] == 1


def test_training_documents_that_overlap_are_removed_at_the_threshold(tmp_path: Path) -> None:
    target = words("target", 14)  # 10 shingles of 5 words
    half = " ".join(target.split()[:9])  # 5 of them
    less = " ".join(target.split()[:8])  # 4 of them
    answer = words("answer", 9)
    made = documents([target, f"h1 {half} {words('h')}", f"l1 {less} {words('l')}", f"q1 {answer} {words('q')}", words("free")])
    asked = question(made[0], answer)
    out, run, _ = dedup(tmp_path, made, [asked], heldout=1e-9, overlap=0.5)
    rows = decisions(out)
    reasons = [rows[document.id]["reason"] for document in made]
    assert reasons == ["kept", "overlaps-heldout", "kept", "overlaps-benchmark", "kept"]
    assert rows[made[1].id]["similar_to"] == made[0].id
    assert rows[made[1].id]["similarity"] == 0.5
    asked_id = next(benchmark.read(tmp_path / "benchmark"))["id"]
    assert rows[made[3].id]["similar_to"] == asked_id
    assert rows[made[3].id]["similarity"] == 1.0
    assert run.summary["removed_overlap_heldout"] == run.summary["removed_overlap_benchmark"] == 1
    (heldout,) = Corpus(out / "heldout").rows()
    assert heldout["meta"]["origin"] == "t0"
    assert heldout["meta"]["train_seen"] == pytest.approx(4 / 10)
    others = 1 + 8 + 30 - 4
    assert heldout["meta"]["train_jaccard"] == pytest.approx(4 / (10 + others - 4))


def test_only_the_right_answer_counts_for_decontamination(tmp_path: Path) -> None:
    wrong = words("wrong", 9)
    made = documents([words("target"), f"w {wrong}", words("free")])
    asked = Question("q", (wrong, "right one"), 1, made[0].id, "g")
    out, _, _ = dedup(tmp_path, made, [asked], heldout=1e-9)
    assert decisions(out)[made[1].id]["kept"]


@pytest.mark.parametrize(
    ("asked", "answer", "removed"),
    [
        ("Which one?", "Fit label binarizer.", ["It does this: FIT   label\nbinarizer", "fit label binarizer"]),
        ("Who wrote it?", "no such words", ["someone asked who wrote it"]),
        ("And which of the five old towers is meant here?", "no such words", ["and which of the five old towers is meant"]),
        ("Was ist es?", "el a\u0301rbol", ["mira el \u00e1rbol"]),
        ("什麼？", "圖書館員", ["我在圖書館員旁看書"]),
        ("哪裡？", "北京", []),  # two letters are one word
        ("Who?", "Rome", []),  # a word alone stands in many texts
    ],
)
def test_short_answers_and_questions_are_looked_for_word_after_word(
    tmp_path: Path, asked: str, answer: str, removed: list[str]
) -> None:
    kept = ["fit a label binarizer", "who else wrote it", "label binarizer fit", "Rome is old", "miracle arbol"]
    kept += ["他在北京", "這是什麼？", "圖書館"]
    texts = enumerate([words("target"), *removed, *kept])
    made = documents(f"{words(f'x{place}y', 8)} {text} {words(f'y{place}x', 8)}" for place, text in texts)
    out, run, _ = dedup(tmp_path, made, [Question(asked, ("no", answer), 1, made[0].id, "g")], heldout=1e-9, stage=Alone)
    reasons = [decisions(out)[document.id]["reason"] for document in made[1:]]
    assert reasons == ["overlaps-benchmark"] * len(removed) + ["kept"] * len(kept)
    assert run.summary["benchmark_texts_too_short"] == (answer in {"Rome", "北京"}) + (len(asked) < 5)


def test_shortest_says_how_many_words_a_sought_text_has(tmp_path: Path) -> None:
    made = documents([words("target"), "once in Rome then", words("free")])
    asked = Question("Who?", ("no", "Rome"), 1, made[0].id, "g")
    out, run, _ = dedup(tmp_path, made, [asked], heldout=1e-9, shortest=1)
    assert decisions(out)[made[1].id]["reason"] == "overlaps-benchmark"
    assert run.summary["benchmark_texts_too_short"] == 0


@pytest.mark.parametrize("share", [0.001, 0.999])
@pytest.mark.parametrize("number", [2, 3])
def test_a_handful_of_documents_fills_both_splits(tmp_path: Path, share: float, number: int) -> None:
    out, _, _ = dedup(tmp_path, documents(words(f"n{place}x") for place in range(number)), heldout=share)
    assert len(Corpus(out / "train")) >= 1
    assert len(Corpus(out / "heldout")) >= 1


def test_one_cluster_alone_is_an_error_that_says_what_to_change(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="3 documents in 1 clusters") as caught:
        dedup(tmp_path, documents(f"same {words('a', place + 5)}" for place in range(3)))
    assert "split long texts" in caught.value.fix


def test_no_training_document_left_is_an_error_that_says_why(tmp_path: Path) -> None:
    made = documents([words("a"), f"x {words('a')}"])
    with pytest.raises(ArtifactError, match="overlaps-heldout': 1") as caught:
        dedup(tmp_path, made)
    assert "overlap" in caught.value.fix


def test_a_plugin_must_label_every_document(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="2 cluster labels for 3 documents"):
        dedup(tmp_path, documents([words("a"), words("b"), words("c")]), stage=Mistaken)


def test_outputs_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    made = documents(words(f"n{place % 30}x", 20 + place) for place in range(50))
    bytes_of = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        out, _, _ = dedup(folder, made, heldout=0.2)
        bytes_of.append({file.relative_to(out): file.read_bytes() for file in out.rglob("*.parquet")})
    assert bytes_of[0] == bytes_of[1]
    assert len(bytes_of[0]) == 3


def test_pictures_and_tables_tell_the_funnel_and_the_clusters(tmp_path: Path) -> None:
    made = documents(f"k{place % 5} {words(f'n{place}x')}" for place in range(11))
    _, _, recorder = dedup(tmp_path, made)
    funnel = {row["step"]: row["documents"] for row in recorder.tables["funnel"]}
    assert funnel["documents"] == 11 == sum(number for step, number in funnel.items() if step != "documents")
    assert (
        dict(zip(recorder.charts["cluster-sizes"].x, recorder.charts["cluster-sizes"].series["clusters"], strict=True))["2"] == 4
    )
    first = recorder.tables["largest-clusters"][0]
    assert first["documents"] == 3
    assert first["first"].startswith("k0 n0x0")
    assert first["last"].startswith("k0 n10x0")


TEXTS = st.lists(st.lists(st.sampled_from("abc"), max_size=8).map(" ".join), min_size=1, max_size=8)


def reference(text: str, ngram: int) -> set[tuple[str, ...]]:
    """Shingles by definition."""
    found = text.split()
    if not found:
        return {(text.strip(), "no word")}
    width = min(ngram, len(found))
    return {tuple(found[start : start + width]) for start in range(len(found) - width + 1)}


@given(TEXTS, TEXTS, st.integers(1, 4))
def test_shared_shingles_and_jaccard_match_their_definition(left: list[str], right: list[str], ngram: int) -> None:
    queries, targets = shingle(left, ngram), shingle(right, ngram)
    sets = [reference(text, ngram) for text in left], [reference(text, ngram) for text in right]
    assert queries.sizes.tolist() == [len(found) for found in sets[0]]
    counted = {
        (q, t): c
        for block in shared(queries, targets)
        for q, t, c in zip(block.queries, block.targets, block.counts, strict=True)
    }
    expected = {(q, t): len(a & b) for q, a in enumerate(sets[0]) for t, b in enumerate(sets[1]) if a & b}
    assert counted == expected
    pairs = [(i, j) for i in range(len(left)) for j in range(len(left))]
    found = queries.jaccard(np.array([i for i, _ in pairs]), np.array([j for _, j in pairs]))
    assert found == pytest.approx([len(sets[0][i] & sets[0][j]) / len(sets[0][i] | sets[0][j]) for i, j in pairs])


def test_blocks_of_shared_pairs_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = shingle([words("a", 10 + place) for place in range(20)], 5)

    def pairs(of: ShingleSets) -> list[tuple[int, int, float]]:
        blocks = list(shared(of, of))
        return [(int(q), int(t), float(c)) for b in blocks for q, t, c in zip(b.queries, b.targets, b.counts, strict=True)]

    whole = pairs(sets)
    monkeypatch.setattr("workbench.artifacts.shingles._PRODUCT", 1)
    assert sorted(pairs(sets)) == sorted(whole)
    assert len(list(shared(sets, sets))) == 20


def test_shingles_ignore_case_and_punctuation_and_know_scripts_without_blanks() -> None:
    sets = shingle(["Hello, World! It is late.", "hello world it is late", "今日は良い天気", "今日は悪い天気", "!!!", "???"], 2)
    assert sets.keys()[0] == sets.keys()[1]
    assert 0 < sets.jaccard(np.array([2]), np.array([3]))[0] < 1
    assert sets.sizes.min() == 1
    assert sets.keys()[4] != sets.keys()[5]


def test_shingles_are_of_composed_text_and_whole_words() -> None:
    text = "también el corazón está aquí, según él"
    assert len(set(shingle([text, unicodedata.normalize("NFD", text)], 3).keys())) == 1
    assert shingle(["कि की कु"], 1).sizes.tolist() == [3]  # words that differ by their vowels, which are marks
