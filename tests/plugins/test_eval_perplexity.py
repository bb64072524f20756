"""Bits per byte, its baselines and the samples of a tiny model."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from tiny_model import documents, model_directory, write_corpus  # noqa: F401
from workbench_eval_perplexity import Perplexity, PerplexityConfig
from workbench_eval_perplexity.baselines import Unigram, zstd_bits
from workbench_eval_perplexity.sections import has_docstring_section

from workbench.artifacts import evaluation
from workbench.artifacts.corpus import Corpus, Document
from workbench.errors import ParamsError
from workbench.testing import make_run


def evaluate(
    tmp_path: Path, model: Path, config: PerplexityConfig, sources: int = 2, **meta: list[float]
) -> tuple[dict[str, float], object]:
    tmp_path.mkdir(exist_ok=True)
    held = [
        Document(d.text, f"book-{i % sources}", {**d.meta, **{name: values[i] for name, values in meta.items()}})
        for i, d in enumerate(documents(8, start=40))
    ]
    write_corpus(tmp_path / "heldout", held, {"origin": pa.string(), **{name: pa.float64() for name in meta}})
    write_corpus(tmp_path / "train", documents(20))
    run = make_run(tmp_path)
    inputs = {"model": model, "heldout": tmp_path / "heldout", "train": tmp_path / "train"}
    Perplexity(config).execute(inputs, {"out": tmp_path / "out"}, run)
    evaluation.validate(tmp_path / "out")
    return evaluation.read_record(tmp_path / "out")["metrics"], run.listener


def test_bits_per_byte_is_the_weighted_mean_of_the_examples(tmp_path: Path, model_directory: Path) -> None:  # noqa: F811
    metrics, _ = evaluate(tmp_path, model_directory, PerplexityConfig(samples=0, stride=8))
    rows = evaluation.read_examples(tmp_path / "out")
    assert evaluation.read_record(tmp_path / "out")["weight"] == "bytes"
    total = sum(row["bytes"] for row in rows)
    assert metrics["bits_per_byte"] == pytest.approx(sum(row["score"] * row["bytes"] for row in rows) / total)
    assert metrics["documents"] == len(rows) == 8
    assert metrics["perplexity_per_token"] == pytest.approx(2 ** (metrics["bits_per_byte"] * total / metrics["tokens"]))


def test_a_document_without_a_token_is_left_out_and_counted(tmp_path: Path, model_directory: Path) -> None:  # noqa: F811
    write_corpus(tmp_path / "heldout", [*documents(3), Document("", "book", {"origin": "none"})])
    write_corpus(tmp_path / "train", documents(20))
    inputs = {"model": model_directory, "heldout": tmp_path / "heldout", "train": tmp_path / "train"}
    Perplexity(PerplexityConfig(samples=0)).execute(inputs, {"out": tmp_path / "out"}, make_run(tmp_path))
    metrics = evaluation.read_record(tmp_path / "out")["metrics"]
    assert (metrics["documents"], metrics["documents_without_token"]) == (3, 1)


def test_samples_that_do_not_fit_the_window_are_refused_before_a_document_is_read(tmp_path: Path, model_directory: Path) -> None:  # noqa: F811
    with pytest.raises(ParamsError, match="32 tokens are to be written after a prompt of 1"):
        Perplexity(PerplexityConfig(samples=1, sample_tokens=32)).evaluate(model_directory, {}, make_run(tmp_path))


@pytest.mark.parametrize(("sources", "column"), [(6, "source"), (5, "id")])
def test_documents_of_one_source_are_a_group_where_there_are_enough_sources_for_an_interval(
    tmp_path: Path,
    model_directory: Path,  # noqa: F811
    sources: int,
    column: str,
) -> None:
    evaluate(tmp_path, model_directory, PerplexityConfig(samples=0), sources)
    held = {row["id"]: row for row in Corpus(tmp_path / "heldout").rows()}
    rows = evaluation.read_examples(tmp_path / "out")
    assert [row["group"] for row in rows] == [held[row["id"]][column] for row in rows]


def test_novel_and_unseen_documents_are_reported_where_dedup_said_so(tmp_path: Path, model_directory: Path) -> None:  # noqa: F811
    jaccard, seen = [0.0, 0.9, 0.4, 0.5, 1.0, 0.8, 0.7, 0.6], [0.1, 0.3, 0.9, 0.2, 0.5, 0.5, 0.5, 0.5]
    metrics, _ = evaluate(tmp_path, model_directory, PerplexityConfig(samples=0), train_jaccard=jaccard, train_seen=seen)
    rows = evaluation.read_examples(tmp_path / "out")
    novel = [row for row in rows if row["train_jaccard"] < 0.5]
    assert metrics["documents_novel"] == len(novel) == 2
    assert metrics["bits_per_byte_novel"] == pytest.approx(sum(r["bits"] for r in novel) / sum(r["bytes"] for r in novel))
    assert metrics["documents_unseen"] == 1


def test_without_dedup_there_is_no_novel_metric_and_the_choice_is_fixed(tmp_path: Path, model_directory: Path) -> None:  # noqa: F811
    first, _ = evaluate(tmp_path / "a", model_directory, PerplexityConfig(samples=0, documents=3))
    second, _ = evaluate(tmp_path / "b", model_directory, PerplexityConfig(samples=0, documents=3))
    assert first == second
    assert first["documents"] == 3
    assert not [name for name in first if "novel" in name or "unseen" in name]


def test_samples_are_kept_as_generations_and_compared_with_documents(tmp_path: Path, model_directory: Path) -> None:  # noqa: F811
    config = PerplexityConfig(samples=5, sample_tokens=12, docstring_sections=True)
    metrics, recorder = evaluate(tmp_path, model_directory, config)
    assert len(recorder.generations) == len(recorder.tables["samples"]) == 5  # type: ignore[attr-defined]
    assert metrics["sections_documents"] == 0
    assert 0 <= metrics["sections_samples_low"] <= metrics["sections_samples"] <= metrics["sections_samples_high"] <= 1
    assert not any("seconds" in name for name in metrics)


def test_unigram_bits_by_hand() -> None:
    unigram = Unigram.fit([[0, 0, 1], [0]], vocabulary=4)
    assert unigram.counts == Counter({0: 3, 1: 1})
    assert unigram.bits([0, 3]) == pytest.approx(-math.log2(4 / 8) - math.log2(1 / 8))


def test_zstd_gains_from_training_text_and_stays_exact() -> None:
    texts = [document.text for document in documents(6, start=10)]
    alone, primed = zstd_bits(texts), zstd_bits(texts, "\n".join(document.text for document in documents(10)))
    assert all(after < before for before, after in zip(alone, primed, strict=True))
    assert zstd_bits(texts) == alone


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Scale.\n\nParameters\n----------\nx : float\n    The value.", True),
        ("    Returns\n    -------\n    float", True),
        ("Scale.\n\nArgs:\n    x: The value.", True),
        ("Parameters\n----------\n", False),
        ("Parameters\nx : float", False),
        ("Args:\nx: not indented", False),
        ("Returns\n    -------\nmisaligned", False),
        ("We discuss Parameters: none.", False),
    ],
)
def test_what_parses_as_a_docstring_section(text: str, expected: bool) -> None:
    assert has_docstring_section(text) is expected
