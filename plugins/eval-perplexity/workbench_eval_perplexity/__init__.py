"""Bits per byte on held-out documents, with baselines and unprompted samples."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from workbench import hookimpl
from workbench.artifacts.corpus import Corpus
from workbench.artifacts.evaluation import Evaluation
from workbench.artifacts.table import Columns
from workbench.errors import ArtifactError
from workbench.estimate import Estimate
from workbench.kinds.eval import EvalStage
from workbench.models import cost as model_cost
from workbench.models import generation, scoring
from workbench.models.generation import Sampling
from workbench.models.scoring import CausalModel, Request
from workbench.models.statistics import FEWEST_GROUPS, wilson
from workbench.plugin import Config, Plugin
from workbench.run import Chart, Generation, Run
from workbench_eval_perplexity.baselines import Unigram, zstd_bits
from workbench_eval_perplexity.sections import has_docstring_section

BINS = 20
DOCUMENT_TOKENS = 300
"""Tokens of a document, for plans; docstrings have about so many."""
SAMPLE_BATCH = 50


class PerplexityConfig(Config):
    """What is read, how it is scored, and what is sampled."""

    documents: int = Field(1_000, ge=1)
    """Held-out documents scored: the first by id, a fixed random choice."""
    stride: int = Field(128, ge=1)
    """Tokens by which the window moves on in documents longer than it, its own length at most; smaller is slower and gives more
    context."""
    batch_tokens: int = Field(4_096, ge=1)
    """Tokens of a batch, padding included; changes the last bits of the scores."""
    novel_below: float = Field(0.5, gt=0, le=1)
    """Documents count as novel below this Jaccard similarity with their nearest training document."""
    unseen_below: float = Field(0.2, gt=0, le=1)
    """Documents count as unseen when less than this share of their 5-grams is in the training text."""
    baseline_documents: int = Field(5_000, ge=1)
    """Training documents that the unigram and zstd baselines read."""
    samples: int = Field(100, ge=0)
    """Texts that the model writes from the start token; 0 writes none."""
    sample_tokens: int = Field(96, ge=1)
    """Tokens of a sample at most."""
    temperature: float = Field(1.0, gt=0)
    """Temperature of the samples; 1 is the model's own distribution."""
    docstring_sections: bool = False
    """Report how many samples parse as docstring sections, beside as many held-out documents cut to the same length."""


@dataclass(frozen=True)
class Scored:
    """A held-out document with its cost in bits."""

    row: Mapping[str, Any]
    tokens: tuple[int, ...]
    bits: float

    @property
    def size(self) -> int:
        """UTF-8 bytes."""
        return len(self.row["text"].encode("utf-8"))

    def meta(self, name: str) -> float | None:
        """A number that dedup wrote, None where it did not."""
        value = (self.row["meta"] or {}).get(name)
        return None if value is None else float(value)


class Perplexity(EvalStage[PerplexityConfig]):
    """Bits per byte on held-out documents (Gao et al. 2020, https://arxiv.org/abs/2101.00027, section 3.1)."""

    name = "perplexity"
    Config = PerplexityConfig
    inputs: ClassVar[Mapping[str, str]] = {"model": "model", "heldout": "corpus", "train": "corpus"}
    columns: ClassVar[Columns] = {
        "bytes": "int64",
        "tokens": "int64",
        "bits": "double",
        "unigram_bits": "double",
        "zstd_bits": "int64",
        "zstd_train_bits": "int64",
        "train_jaccard": "double",
        "train_seen": "double",
    }

    def estimate(self, inputs: Mapping[str, Path]) -> Estimate:
        """Documents read and samples written."""
        config = self.config
        tokens = config.documents * DOCUMENT_TOKENS + config.samples * config.sample_tokens
        return model_cost.of_reading(inputs["model"], tokens, config.batch_tokens)

    def evaluate(self, model: Path, data: Mapping[str, Path], run: Run) -> Evaluation:
        """Score the documents, compare with the baselines, sample."""
        causal = scoring.load(model, run.compute.device)
        generation.require_room(causal, [(causal.start,)] * bool(self.config.samples), self.config.sample_tokens)
        heldout = first_by_id(Corpus(data["heldout"]), self.config.documents)
        scored = self._score(causal, heldout, run)
        examples = self._examples(causal, scored, first_by_id(Corpus(data["train"]), self.config.baseline_documents))
        metrics = self._metrics(scored, examples)
        if empty := len(heldout) - len(scored):
            metrics["documents_without_token"] = empty
        _draw(examples, run)
        if self.config.samples:
            metrics |= self._sample(causal, scored, run)
        return Evaluation(metrics, "bits_per_byte", higher_is_better=False, examples=examples, weight="bytes")

    def _score(self, model: CausalModel, rows: Sequence[Mapping[str, Any]], run: Run) -> list[Scored]:
        encoded = [
            (row, tokens) for row, tokens in zip(rows, model.encode_texts([row["text"] for row in rows]), strict=True) if tokens
        ]
        if not encoded:
            raise ArtifactError("no held-out document has a token", run.stage, "look at the held-out texts")
        scores = scoring.score(
            model,
            [Request((model.start,), tokens) for _, tokens in encoded],
            batch_tokens=self.config.batch_tokens,
            stride=min(self.config.stride, model.window),
            progress=lambda done, total: run.progress(done, total, "tokens", "bits per byte"),
        )
        return [
            Scored(row, tokens, -score.log_likelihood / math.log(2)) for (row, tokens), score in zip(encoded, scores, strict=True)
        ]

    def _examples(self, model: CausalModel, scored: Sequence[Scored], train: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        texts = [row["text"] for row in train]
        unigram = Unigram.fit(model.encode_texts(texts), len(model.tokenizer))
        held = [document.row["text"] for document in scored]
        alone, primed = zstd_bits(held), zstd_bits(held, "\n\n".join(texts))
        sources = {document.row["source"] for document in scored}
        group = "source" if len(sources) >= FEWEST_GROUPS else "id"  # few sources: the interval is for texts of these alone
        return [
            {
                "id": document.row["id"],
                "group": document.row[group],
                "score": document.bits / document.size,
                "bytes": document.size,
                "tokens": len(document.tokens),
                "bits": document.bits,
                "unigram_bits": unigram.bits(document.tokens),
                "zstd_bits": zstd,
                "zstd_train_bits": zstd_train,
                "train_jaccard": document.meta("train_jaccard"),
                "train_seen": document.meta("train_seen"),
            }
            for document, zstd, zstd_train in zip(scored, alone, primed, strict=True)
        ]

    def _metrics(self, scored: Sequence[Scored], examples: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        novel = [row for row in examples if row["train_jaccard"] is not None and row["train_jaccard"] < self.config.novel_below]
        unseen = [row for row in examples if row["train_seen"] is not None and row["train_seen"] < self.config.unseen_below]
        metrics: dict[str, float] = {"bits_per_byte": per_byte(examples, "bits")}
        for name, rows in (("novel", novel), ("unseen", unseen)):
            if rows:
                metrics[f"bits_per_byte_{name}"] = per_byte(rows, "bits")
                metrics[f"documents_{name}"] = len(rows)
        for name in ("unigram", "zstd", "zstd_train"):
            metrics[f"{name}_bits_per_byte"] = per_byte(examples, f"{name}_bits")
        tokens = sum(len(document.tokens) for document in scored)
        metrics["perplexity_per_token"] = 2.0 ** (sum(document.bits for document in scored) / tokens)
        return metrics | {"documents": len(examples), "tokens": tokens, "bytes": sum(row["bytes"] for row in examples)}

    def _sample(self, model: CausalModel, scored: Sequence[Scored], run: Run) -> dict[str, float]:
        sampling = Sampling(self.config.sample_tokens, self.config.temperature, run.seed, SAMPLE_BATCH)
        began = time.monotonic()
        outputs = generation.generate(model, [(model.start,)] * self.config.samples, sampling)
        seconds = time.monotonic() - began
        texts = [model.tokenizer.decode(tokens, skip_special_tokens=True) for tokens in outputs]
        parses = [has_docstring_section(text) for text in texts]
        rule = self.config.docstring_sections
        for tokens, text, good in zip(outputs, texts, parses, strict=True):
            run.generation(Generation("", text, len(tokens), seconds / len(texts), float(good) if rule else None))
        run.table("samples", "What the model writes unprompted", [{"sample": n, "text": text} for n, text in enumerate(texts)])
        run.log({"generation_seconds": seconds, "generation_tokens_per_second": sum(map(len, outputs)) / max(seconds, 1e-9)})
        return self._section_shares(model, parses, scored) if rule else {}

    def _section_shares(self, model: CausalModel, parses: Sequence[bool], scored: Sequence[Scored]) -> dict[str, float]:
        cut = [document.tokens[: self.config.sample_tokens] for document in scored[: len(parses)]]
        real = [has_docstring_section(model.tokenizer.decode(tokens, skip_special_tokens=False)) for tokens in cut]
        metrics: dict[str, float] = {}
        for name, found in (("samples", parses), ("documents", real)):
            interval = wilson(sum(found), len(found))
            metrics |= {f"sections_{name}": interval.estimate}
            metrics |= {f"sections_{name}_low": interval.low, f"sections_{name}_high": interval.high}
        return metrics


def first_by_id(corpus: Corpus, number: int) -> list[dict[str, Any]]:
    """The documents of the smallest ids; ids are content hashes, so it is a random choice that never changes."""
    chosen = set(heapq.nsmallest(number, corpus.ids()))
    return sorted((row for row in corpus.rows() if row["id"] in chosen), key=lambda row: str(row["id"]))


def per_byte(rows: Sequence[Mapping[str, Any]], column: str) -> float:
    """Bits of all rows over their bytes."""
    return math.fsum(row[column] for row in rows) / sum(int(row["bytes"]) for row in rows)


def _draw(examples: Sequence[Mapping[str, Any]], run: Run) -> None:
    scores = sorted(row["score"] for row in examples)
    low, high = scores[0], scores[-1]
    width = (high - low) / BINS or 1.0
    counts = [0.0] * BINS
    for score in scores:
        counts[min(BINS - 1, int((score - low) / width))] += 1
    labels = [f"{low + (place + 0.5) * width:.2f}" for place in range(BINS)]
    run.chart(
        Chart("bits-per-byte", "Held-out documents by bits per byte", "bits per byte", "documents", labels, {"documents": counts})
    )
    groups = sorted({row["group"] for row in examples})
    by_group = {group: [row for row in examples if row["group"] == group] for group in groups}
    series = {
        name: [per_byte(by_group[group], column) for group in groups]
        for name, column in (("model", "bits"), ("zstd after training text", "zstd_train_bits"), ("unigram", "unigram_bits"))
    }
    run.chart(Chart("by-source", "Bits per byte by source, beside the baselines", "source", "bits per byte", groups, series))


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """The classes that this distribution offers."""
    return [Perplexity]
