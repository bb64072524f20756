"""The dedup plugins find what their definitions say, against brute force."""

from __future__ import annotations

import random
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from workbench_dedup_exact import Exact, ExactConfig, normalised
from workbench_dedup_minhash import MinHash, MinHashConfig

from workbench.artifacts import corpus
from workbench.artifacts.corpus import Corpus
from workbench.artifacts.shingles import shingle
from workbench.kinds.dedup import Clusters
from workbench.testing import make_run


def write(tmp_path: Path, texts: list[str]) -> Corpus:
    rows = [{"id": str(place), "text": text, "source": "s", "meta": {"origin": str(place)}} for place, text in enumerate(texts)]
    corpus.write(tmp_path / "corpus", rows, corpus.schema(("origin",)))
    return Corpus(tmp_path / "corpus")


def pair_at(similarity: float, number: int, size: int = 100) -> tuple[str, str]:
    """Two texts of ``size`` words whose sets of single words have that Jaccard similarity."""
    common = round(2 * size * similarity / (1 + similarity))
    shared_words = [f"p{number}w{place}" for place in range(common)]
    left, right = ([f"p{number}{side}{place}" for place in range(size - common)] for side in "lr")
    return " ".join(shared_words + left), " ".join(shared_words + right)


def joined(clusters: Clusters, pairs: int) -> float:
    """Share of the neighbours 0-1, 2-3, … with one label."""
    return float(np.mean([clusters.labels[2 * k] == clusters.labels[2 * k + 1] for k in range(pairs)]))


@pytest.mark.parametrize(
    ("normalisation", "labels"),
    [("none", [0, 1, 2, 3, 0]), ("whitespace", [0, 0, 2, 3, 0]), ("words", [0, 0, 0, 3, 0])],
)
def test_exact_joins_what_its_normalisation_makes_equal(tmp_path: Path, normalisation: str, labels: list[int]) -> None:
    texts = ["One two.", "One\n  two. ", "one, TWO", "one three", "One two."]
    run = make_run(tmp_path)
    found = Exact(ExactConfig.model_validate({"normalisation": normalisation})).find_duplicates(write(tmp_path, texts), run)
    assert found.firsts().tolist() == labels


def test_exact_tells_texts_without_words_apart_and_composes_unicode() -> None:
    assert normalised("!!!", "words") != normalised("???", "words")
    assert normalised("e\u0301", "whitespace") == normalised("\u00e9", "whitespace")


@pytest.mark.parametrize(
    ("similarity", "least", "most"), [(0.95, 1.0, 1.0), (0.8, 0.97, 1.0), (0.72, 0.85, 1.0), (0.65, 0.0, 0.0), (0.3, 0.0, 0.0)]
)
def test_minhash_recall_by_similarity_with_no_pair_below_the_threshold(
    tmp_path: Path, similarity: float, least: float, most: float
) -> None:
    pairs = 150
    texts = [text for number in range(pairs) for text in pair_at(similarity, number)]
    run = make_run(tmp_path)
    found = MinHash(MinHashConfig(ngram=1, threshold=0.7)).find_duplicates(write(tmp_path, texts), run)
    assert least <= joined(found, pairs) <= most
    strangers = {int(found.labels[2 * k]) for k in range(pairs)}
    assert len(strangers) == pairs


def test_minhash_against_brute_force_on_mutated_texts(tmp_path: Path) -> None:
    generator = random.Random(5)
    texts = []
    for family in range(40):
        base = [f"f{family}w{place}" for place in range(80)]
        for _ in range(4):
            changed = generator.randrange(0, 7)
            copy = list(base)
            for place in generator.sample(range(80), changed):
                copy[place] = f"new{generator.random()}"
            texts.append(" ".join(copy))
    run = make_run(tmp_path)
    found = MinHash(MinHashConfig(ngram=3, threshold=0.6)).find_duplicates(write(tmp_path, texts), run)
    sets = shingle(texts, 3)
    left, right = (np.array(side) for side in zip(*combinations(range(len(texts)), 2), strict=True))
    alike = sets.jaccard(left, right) >= 0.6
    truth = Clusters.from_pairs(len(texts), left[alike], right[alike])
    same_found, same_truth = (c.labels[left] == c.labels[right] for c in (found, truth))
    assert not (same_found & ~same_truth).any()
    assert (same_found & same_truth).sum() / same_truth.sum() >= 0.95
    assert 0 < same_truth.sum() < len(left) / 10


def test_minhash_joins_identical_texts_however_many_and_blocks_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["all the same words here again"] * 300 + [text for number in range(30) for text in pair_at(0.9, number)]
    corpus_ = write(tmp_path, texts)
    run = make_run(tmp_path)
    whole = MinHash(MinHashConfig(ngram=1)).find_duplicates(corpus_, run).firsts().tolist()
    assert set(whole[:300]) == {0}
    monkeypatch.setattr("workbench_dedup_minhash._PAIRS", 1)
    assert MinHash(MinHashConfig(ngram=1)).find_duplicates(corpus_, run).firsts().tolist() == whole


def test_minhash_splits_a_corpus_from_end_to_end(tmp_path: Path) -> None:
    texts = [text for number in range(20) for text in pair_at(0.9, number)]
    run = make_run(tmp_path)
    inputs = {"corpus": write(tmp_path, texts).path}
    out = {name: tmp_path / name for name in MinHash.outputs}
    MinHash(MinHashConfig(ngram=1, heldout=0.3)).execute(inputs, out, run)
    assert run.summary["clusters"] == 20
    assert run.summary["duplicates"] == 20
    assert run.summary["train"] + run.summary["heldout"] == 20
