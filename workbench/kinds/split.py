"""The split of a corpus into training and held-out text, and its decontamination, given the clusters of duplicates.

Whole clusters are held out. What remains in training is compared with the held-out text and with the benchmark by
shared shingles (Broder 1997), and removed where it overlaps; so is a document in which a question or right answer too
short for a shingle stands word for word.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from workbench.artifacts import benchmark, table
from workbench.artifacts import corpus as corpora
from workbench.artifacts.corpus import Corpus
from workbench.artifacts.shingles import Rows, ShingleSets, sequences, shared, shingle
from workbench.artifacts.table import Columns
from workbench.artifacts.words import folded, has_no_blanks, words
from workbench.errors import ArtifactError
from workbench.run import Cell, Chart, Run

DocumentSplit = Literal["train", "heldout", "none"]
DECISIONS: Columns = {
    "id": "string",
    "kept": "bool",
    "split": "string",
    "reason": "string",
    "cluster": "string",
    "similar_to": "string",
    "similarity": "double",
}
KEPT, DUPLICATE = "kept", "duplicate"
OVERLAPS_HELDOUT, OVERLAPS_BENCHMARK = "overlaps-heldout", "overlaps-benchmark"
LARGEST = 20
EXCERPT = 200
SIZES = (1, 2, 3, 5, 10, 20, 50, 100)


@dataclass(frozen=True)
class AnsweredQuestion:
    """The parts of a benchmark question that decontamination needs."""

    id: str
    document: str
    question: str
    answer: str


def read_questions(directory: Path | None) -> list[AnsweredQuestion]:
    """The questions of a benchmark; empty without a benchmark."""
    if directory is None:
        return []
    rows = benchmark.read(directory)
    return [AnsweredQuestion(row["id"], row["document"], row["question"], row["choices"][row["answer"]]) for row in rows]


def content_keys(texts: Iterable[str]) -> list[str]:
    """What the side of a text is drawn by: equal for texts that differ in blanks, case or Unicode composition alone."""
    return [hashlib.sha256(" ".join(folded(text).split()).encode("utf-8", "surrogatepass")).hexdigest() for text in texts]


@dataclass
class SplitPlan:
    """The decision about each document, filled in step by step; all arrays are (documents,)."""

    ids: list[str]
    firsts: Rows
    kept_of: Rows
    """Position of the cluster's representative document."""
    heldout: npt.NDArray[np.bool_]
    named: int
    """Clusters held out because the benchmark names one of their documents."""
    reasons: npt.NDArray[np.object_]
    similar: list[str | None]
    similarity: npt.NDArray[np.float64]

    def rows(self, split: DocumentSplit) -> Rows:
        """Positions of the kept documents of a split."""
        side = self.heldout if split == "heldout" else ~self.heldout
        return np.flatnonzero((self.reasons == KEPT) & side)

    def count(self, reason: str) -> int:
        """Number of documents with that reason."""
        return int((self.reasons == reason).sum())

    def remove(self, rows: Rows, reason: str, similar: Sequence[str], similarity: npt.NDArray[np.float64]) -> None:
        """Remove documents, noting the document or question that each is similar to."""
        self.reasons[rows] = reason
        self.similarity[rows] = similarity
        for row, other in zip(rows, similar, strict=True):
            self.similar[row] = other

    def explain_duplicates(self, shingles: ShingleSets) -> None:
        """Fill in how similar each duplicate is to the document kept in its place."""
        rows = np.flatnonzero(self.kept_of != np.arange(len(self.ids)))
        others = self.kept_of[rows]
        self.remove(rows, DUPLICATE, [self.ids[other] for other in others], shingles.jaccard(rows, others))

    def decisions(self) -> Iterator[dict[str, Any]]:
        """One row per document in corpus order."""
        for row, identity in enumerate(self.ids):
            kept = self.reasons[row] == KEPT
            split: DocumentSplit = "none" if not kept else "heldout" if self.heldout[row] else "train"
            yield {
                "id": identity,
                "kept": kept,
                "split": split,
                "reason": self.reasons[row],
                "cluster": self.ids[self.firsts[row]],
                "similar_to": self.similar[row],
                "similarity": None if self.similar[row] is None else float(self.similarity[row]),
            }


def draw(firsts: Rows, ids: list[str], keys: list[str], named: set[str], share: float, run: Run) -> SplitPlan:
    """Hold out the clusters that the benchmark names and a share of the others, by the documents' :func:`content_keys`.

    ``firsts`` gives the clusters, (documents,).

    Raises:
        ArtifactError: there is nothing to split.
    """
    in_benchmark = np.fromiter((identity in named for identity in ids), np.bool_, len(ids))
    forced = np.zeros(len(ids), np.bool_)
    forced[firsts[in_benchmark]] = True
    drawn = _draw_clusters(firsts, keys, forced, share, run)
    return SplitPlan(
        ids=ids,
        firsts=firsts,
        kept_of=_representatives(firsts, in_benchmark),
        heldout=(forced | drawn)[firsts],
        named=int(forced.sum()),
        reasons=np.full(len(ids), KEPT, np.object_),
        similar=[None] * len(ids),
        similarity=np.zeros(len(ids)),
    )


def _representatives(firsts: Rows, preferred: npt.NDArray[np.bool_]) -> Rows:
    kept = np.arange(len(firsts))
    for row in reversed(np.flatnonzero(preferred)):
        kept[firsts[row]] = row
    return kept[firsts]


def _draw_clusters(firsts: Rows, keys: list[str], forced: npt.NDArray[np.bool_], share: float, run: Run) -> npt.NDArray[np.bool_]:
    """Mark the first document of each drawn cluster.

    A cluster is drawn by its smallest key, so other documents, whatever their number and order, do not move it; a near-copy
    that joins it may, if its key is the smallest. If chance leaves a side empty, the cluster nearest to the limit changes sides.
    """
    smallest: dict[int, str] = {}
    for first, key in zip(firsts.tolist(), keys, strict=True):
        smallest[first] = min(smallest.get(first, key), key)
    places = {first: _place(key, run.seed) for first, key in smallest.items() if not forced[first]}
    if len(smallest) < 2 or not places:
        raise ArtifactError(
            f"{len(keys)} documents in {len(smallest)} clusters can't be split in training and held-out text",
            run.stage,
            "give it more text that differs, split long texts into several documents, or use fewer benchmark questions",
        )
    drawn = {first for first, place in places.items() if place < share}
    if not drawn and not forced.any():
        drawn.add(min(places, key=places.__getitem__))
    if len(drawn) == len(places):
        drawn.remove(max(places, key=places.__getitem__))
    marks = np.zeros(len(keys), np.bool_)
    marks[sorted(drawn)] = True
    return marks


def _place(key: str, seed: int) -> float:
    """A number in [0, 1) that depends only on the cluster and the seed."""
    digest = hashlib.sha256(f"heldout\0{seed}\0{key}".encode()).digest()
    return float(int.from_bytes(digest[:6], "big") / 2**48)


@dataclass(frozen=True)
class Limits:
    """From which on a training document overlaps."""

    ngram: int
    """Words in a shingle."""
    overlap: float
    """Shared part of the smaller text's shingles."""
    shortest: int
    """Fewest words of a question or an answer that is looked for."""


def remove_overlap(
    plan: SplitPlan, corpus: Corpus, shingles: ShingleSets, questions: Sequence[AnsweredQuestion], limits: Limits, run: Run
) -> None:
    """Decontamination: remove what training documents share with held-out ones, or with a question and its right answer.

    Raises:
        ArtifactError: no training document is left.
    """
    heldout = plan.rows("heldout")
    names = [plan.ids[row] for row in heldout]
    _remove_like(plan, shingles, shingles.take(heldout), names, OVERLAPS_HELDOUT, limits.overlap)
    run.progress(1, 3, "checks", "decontamination")
    sought = [(question.id, text) for question in questions for text in (question.answer, question.question)]
    found = [words(text) for _, text in sought]
    long = [item for item, own in zip(sought, found, strict=True) if len(own) >= limits.ngram]
    sets = shingle((text for _, text in long), limits.ngram)
    _remove_like(plan, shingles, sets, [name for name, _ in long], OVERLAPS_BENCHMARK, limits.overlap)
    run.progress(2, 3, "checks", "decontamination")
    rest = [(item, _whole_words(own)) for item, own in zip(sought, found, strict=True) if len(own) < limits.ngram]
    short = [item for item, number in rest if number >= limits.shortest]
    _remove_sequences(plan, corpus, short)
    run.progress(3, 3, "checks", "decontamination")
    if questions:
        run.metric("benchmark_texts_too_short", len(rest) - len(short))
    _require_both_splits(plan, run)


def _whole_words(found: Sequence[str]) -> int:
    """How many words these are where in scripts without blanks two letters make one, as in Chinese and Japanese they often do."""
    letters = sum(map(has_no_blanks, found))
    return len(found) - letters + letters // 2


def _remove_sequences(plan: SplitPlan, corpus: Corpus, sought: Sequence[tuple[str, str]]) -> None:
    """Remove the training documents in which one of the (question's id, text) stands as a sequence of words."""
    if not sought:
        return
    owners: dict[int, str] = {}
    for name, text in sought:
        owners.setdefault(_sequence_hash(text), name)
    wanted, train = np.array(sorted(owners), np.uint64), set(plan.rows("train").tolist())
    lengths = {len(words(text)) for _, text in sought}
    texts = (text for row, text in enumerate(corpus.texts()) if row in train)
    hits: dict[int, str] = {}
    for row, found in zip(sorted(train), sequences(texts, lengths), strict=True):
        common = np.intersect1d(found, wanted, assume_unique=True)
        if len(common):
            hits[row] = owners[int(common[0])]
    plan.remove(np.array(list(hits), np.int64), OVERLAPS_BENCHMARK, list(hits.values()), np.ones(len(hits)))


def _sequence_hash(text: str) -> int:
    (hashes,) = sequences([text], [len(words(text))])
    return int(hashes[0])


def _remove_like(
    plan: SplitPlan, shingles: ShingleSets, others: ShingleSets, names: Sequence[str], reason: str, threshold: float
) -> None:
    """Remove the training documents whose overlap coefficient with one of the others reaches the threshold."""
    train = plan.rows("train")
    targets = shingles.take(train)
    best = np.zeros(len(train))
    closest = np.zeros(len(train), np.int64)
    for block in shared(others, targets):
        overlap = block.counts / np.minimum(others.sizes[block.queries], targets.sizes[block.targets])
        order = np.lexsort((-block.queries, overlap))  # later assignments win: the greatest overlap, then the first query
        better = order[overlap[order] > best[block.targets[order]]]
        best[block.targets[better]] = overlap[better]
        closest[block.targets[better]] = block.queries[better]
    hit = np.flatnonzero(best >= threshold)
    plan.remove(train[hit], reason, [names[query] for query in closest[hit]], best[hit])


def _require_both_splits(plan: SplitPlan, run: Run) -> None:
    if len(plan.rows("train")):
        return
    counts = {reason: plan.count(reason) for reason in (DUPLICATE, OVERLAPS_HELDOUT, OVERLAPS_BENCHMARK)}
    raise ArtifactError(
        f"no training document is left of {len(plan.ids)}: {len(plan.rows('heldout'))} held out, removed {counts}",
        run.stage,
        "raise `overlap`, lower `heldout`, or give it more text that differs",
    )


@dataclass(frozen=True, eq=False)
class Closeness:
    """Closeness of each held-out document to the training documents; each array is (held out,)."""

    jaccard: npt.NDArray[np.float64]
    """Similarity to the most similar training document."""
    seen: npt.NDArray[np.float64]
    """Share of the shingles that occur in training documents."""


def measure_closeness(plan: SplitPlan, shingles: ShingleSets) -> Closeness:
    """How close the held-out documents are to the training documents."""
    heldout, train = shingles.take(plan.rows("heldout")), shingles.take(plan.rows("train"))
    jaccard = np.zeros(len(heldout))
    for block in shared(heldout, train):
        union = heldout.sizes[block.queries] + train.sizes[block.targets] - block.counts
        np.maximum.at(jaccard, block.queries, block.counts / union)
    known = heldout.known_in(train.vocabulary)
    seen = np.add.reduceat(known, heldout.starts[:-1], dtype=np.int64)
    return Closeness(jaccard, seen / heldout.sizes)


def write(plan: SplitPlan, corpus: Corpus, closeness: Closeness, outputs: Mapping[str, Path]) -> Counter[str]:
    """Write both splits and the decisions; returns the number of characters per split."""
    meta = table.read_schema(corpus.path).field("meta").type
    types = {meta.field(place).name: meta.field(place).type for place in range(meta.num_fields)}
    more = {**types, "train_jaccard": "double", "train_seen": "double"}
    measured = {
        row: {"train_jaccard": float(jaccard), "train_seen": float(seen)}
        for row, jaccard, seen in zip(plan.rows("heldout").tolist(), closeness.jaccard, closeness.seen, strict=True)
    }
    characters: Counter[str] = Counter()
    with ExitStack() as stack:
        train = stack.enter_context(table.ShardWriter(outputs["train"], corpora.schema(types)))
        heldout = stack.enter_context(table.ShardWriter(outputs["heldout"], corpora.schema(more)))
        for row, document in enumerate(corpus.rows(list(corpora.COLUMNS))):
            if row in measured:
                heldout.write({**document, "meta": {**document["meta"], **measured[row]}})
                characters["heldout"] += len(document["text"])
            elif plan.reasons[row] == KEPT:
                train.write(document)
                characters["train"] += len(document["text"])
    table.write_rows(outputs["decisions"], plan.decisions(), DECISIONS)
    return characters


def report(plan: SplitPlan, corpus: Corpus, named: set[str], closeness: Closeness, characters: Counter[str], run: Run) -> None:
    """Report the counts, the funnel and the largest clusters to the run."""
    sizes = np.bincount(plan.firsts, minlength=len(plan.ids))
    losses = {reason: plan.count(reason) for reason in (DUPLICATE, OVERLAPS_HELDOUT, OVERLAPS_BENCHMARK)}
    heldout, train = len(plan.rows("heldout")), len(plan.rows("train"))
    run.metric("documents", len(plan.ids))
    run.metric("clusters", int((sizes > 0).sum()))
    run.metric("largest_cluster", int(sizes.max()))
    run.metric("duplicates", losses[DUPLICATE])
    run.metric("heldout", heldout)
    run.metric("heldout_by_benchmark", plan.named)
    run.metric("benchmark_documents_absent", len(named - set(plan.ids)))
    run.metric("removed_overlap_heldout", losses[OVERLAPS_HELDOUT])
    run.metric("removed_overlap_benchmark", losses[OVERLAPS_BENCHMARK])
    run.metric("train", train)
    run.metric("train_characters", characters["train"])
    run.metric("heldout_characters", characters["heldout"])
    run.metric("heldout_without_neighbour", int((closeness.jaccard < 0.5).sum()))
    run.metric("heldout_mostly_unseen", int((closeness.seen < 0.2).sum()))
    _show_funnel(len(plan.ids), losses, heldout, train, run)
    _show_clusters(plan, sizes, corpus, run)


def _show_funnel(documents: int, losses: Mapping[str, int], heldout: int, train: int, run: Run) -> None:
    steps: dict[str, int] = {"documents": documents, **losses, "heldout": heldout, "train": train}
    counts = [float(number) for number in steps.values()]
    title = "Documents read, removed by reason, and kept"
    run.chart(Chart("funnel", title, "step", "documents", list(steps), {"documents": counts}))
    run.table("funnel", "Funnel", [{"step": step, "documents": number} for step, number in steps.items()])


def _show_clusters(plan: SplitPlan, sizes: Rows, corpus: Corpus, run: Run) -> None:
    clustered = sizes[sizes > 0]
    places = np.searchsorted(SIZES, clustered, side="right") - 1
    labels = [_size_label(place) for place in range(len(SIZES))]
    counts = np.bincount(places, minlength=len(SIZES)).astype(float).tolist()
    title = "Clusters by size"
    run.chart(Chart("cluster-sizes", title, "documents in the cluster", "clusters", labels, {"clusters": counts}, log_y=True))
    largest = [int(first) for first in np.argsort(-sizes, kind="stable")[:LARGEST] if sizes[first] > 1]
    if largest:
        run.table("largest-clusters", "The largest clusters of duplicates", _cluster_rows(plan, largest, sizes, corpus))


def _size_label(place: int) -> str:
    low = SIZES[place]
    if place + 1 == len(SIZES):
        return f"{low}+"
    high = SIZES[place + 1] - 1
    return str(low) if high == low else f"{low}-{high}"


def _cluster_rows(plan: SplitPlan, largest: Sequence[int], sizes: Rows, corpus: Corpus) -> list[dict[str, Cell]]:
    lasts = {int(plan.firsts[row]): row for row in range(len(plan.ids))}
    wanted = {*largest, *(lasts[first] for first in largest)}
    excerpts = {row: text[:EXCERPT] for row, text in enumerate(corpus.texts()) if row in wanted}
    return [
        {
            "cluster": plan.ids[first],
            "documents": int(sizes[first]),
            "split": "heldout" if plan.heldout[first] else "train",
            "first": excerpts[first],
            "last": excerpts[lasts[first]],
        }
        for first in largest
    ]
