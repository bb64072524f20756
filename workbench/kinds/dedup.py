"""Kind ``dedup``: finds documents that repeat one another. The stage `dedup`, which also owns the split.

Training on near-copies of held-out text inflates every measurement on it (Lee et al. 2022,
https://arxiv.org/abs/2107.06499), so whole clusters are held out and what still overlaps is removed.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from pydantic import Field

from workbench.artifacts.corpus import Corpus
from workbench.errors import PluginError
from workbench.kinds.stage import Stage
from workbench.plugin import Config
from workbench.run import Run

if TYPE_CHECKING:
    from workbench.artifacts.shingles import Rows, ShingleSets


class DedupConfig(Config):
    """Settings common to every dedup plugin: how the corpus is split and overlap removed."""

    heldout: float = Field(0.05, gt=0, lt=1)
    """Share of the clusters drawn as held-out; clusters named by the benchmark come on top."""
    overlap: float = Field(0.5, gt=0, le=1)
    """A training document is removed where it shares this part, or more, of the smaller of the two's shingles with a
    held-out document, or with a question of the benchmark or its right answer."""
    ngram: int = Field(5, ge=1, le=50)
    """Words in a shingle. Questions and right answers of fewer words are looked for as they are, word after word."""
    shortest: int = Field(2, ge=1, le=50)
    """Fewest words of a question or right answer that is looked for, where in scripts without blanks two letters make a word; a
    single word, such as a number or a name, stands in many texts that give nothing away. How many are shorter is counted
    (``benchmark_texts_too_short``)."""


D = TypeVar("D", bound=DedupConfig)


@dataclass(frozen=True, eq=False)
class Clusters:
    """A partition of the documents: two with the same label are duplicates."""

    labels: Rows
    """One integer per document in corpus order, (documents,)."""

    def __post_init__(self) -> None:
        import numpy as np

        labels = np.asarray(self.labels)
        if labels.ndim != 1 or not (np.issubdtype(labels.dtype, np.integer) or labels.size == 0):
            raise PluginError(
                f"cluster labels must be a vector of integers, not {labels.ndim}-dimensional {labels.dtype}",
                "Clusters",
                "give one integer per document",
            )
        object.__setattr__(self, "labels", labels.astype(np.int64))

    @classmethod
    def from_keys(cls, keys: Iterable[Hashable]) -> Clusters:
        """Documents with equal keys are duplicates; one key per document."""
        import numpy as np

        seen: dict[Hashable, int] = {}
        return cls(np.array([seen.setdefault(key, len(seen)) for key in keys], np.int64))

    @classmethod
    def from_pairs(cls, documents: int, left: Rows, right: Rows) -> Clusters:
        """The connected components of a graph whose edges join the documents left[k] and right[k]."""
        import numpy as np
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        edges = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(documents, documents))
        return cls(connected_components(edges, directed=False)[1])

    def firsts(self) -> Rows:
        """Position of the first document of each document's cluster, (documents,)."""
        import numpy as np

        _, first, inverse = np.unique(self.labels, return_index=True, return_inverse=True)
        return first[inverse].astype(np.int64)


class DedupStage(Stage[D]):
    """Splits a corpus so that no near-copies cross the split; the base class decides, writes and explains."""

    kind: ClassVar[str] = "dedup"
    section: ClassVar[str] = "dedup"
    makes: ClassVar[str] = "split"
    inputs: ClassVar[Mapping[str, str]] = {"corpus": "corpus", "benchmark": "benchmark"}
    outputs: ClassVar[Mapping[str, str]] = {"train": "corpus", "heldout": "corpus", "decisions": "decisions"}
    optional: ClassVar[frozenset[str]] = frozenset({"benchmark"})
    _shingles: tuple[Path, ShingleSets] | None = None

    @abstractmethod
    def find_duplicates(self, corpus: Corpus, run: Run) -> Clusters:
        """Return a label per document in corpus order; documents with the same label are duplicates."""

    def shingles(self, corpus: Corpus, run: Run) -> ShingleSets:
        """The documents' word n-grams, computed once per stage."""
        from workbench.artifacts.shingles import shingle

        if self._shingles is None or self._shingles[0] != corpus.path:
            texts = run.track(corpus.texts(), unit="documents", total=len(corpus), label="shingles")
            self._shingles = corpus.path, shingle(texts, self.config.ngram)
        return self._shingles[1]

    def execute(self, inputs: Mapping[str, Path], outputs: Mapping[str, Path], run: Run) -> None:
        """Cluster, split, remove overlap, and write train, heldout and a decision per document."""
        from workbench.kinds import split

        corpus = Corpus(inputs["corpus"])
        questions = split.read_questions(inputs.get("benchmark"))
        clusters = self.find_duplicates(corpus, run)
        ids = corpus.ids()
        if len(clusters.labels) != len(ids):
            what = f"{len(clusters.labels)} cluster labels for {len(ids)} documents"
            raise PluginError(what, f"dedup {self.name!r}", "return one label per document")
        named = {question.document for question in questions}
        plan = split.draw(clusters.firsts(), ids, split.content_keys(corpus.texts()), named, self.config.heldout, run)
        shingles = self.shingles(corpus, run)
        plan.explain_duplicates(shingles)
        limits = split.Limits(self.config.ngram, self.config.overlap, self.config.shortest)
        split.remove_overlap(plan, corpus, shingles, questions, limits, run)
        closeness = split.measure_closeness(plan, shingles)
        characters = split.write(plan, corpus, closeness, outputs)
        split.report(plan, corpus, named, closeness, characters, run)
