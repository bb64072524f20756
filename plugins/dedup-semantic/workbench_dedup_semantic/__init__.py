"""Dedup ``semantic``: documents that say the same in other words, by the cosine of their embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from workbench import hookimpl
from workbench.artifacts.corpus import Corpus
from workbench.errors import ArtifactError
from workbench.kinds.dedup import Clusters, DedupConfig, DedupStage
from workbench.plugin import Plugin
from workbench.run import Run

if TYPE_CHECKING:
    from workbench_dedup_semantic.embedding import Vectors
    from workbench_dedup_semantic.neighbours import Graph, Rows


ROUNDING = 1e-6
"""What the cosine of two equal vectors may fall short of 1, in float32."""


class SemanticConfig(DedupConfig):
    """Configuration of ``semantic``."""

    threshold: float = Field(0.95, gt=0, le=1)
    """Cosine of their embeddings from which on two documents are duplicates."""
    model: str | None = None
    """Directory of a Hugging Face model, encoder or causal, whose hidden states are the embeddings; null: no model, but LSA."""
    layer: int = -1
    """Layer of the model whose states are averaged over the tokens; 0 is its input embeddings, -1 its last layer."""
    window: int = Field(256, ge=8)
    """Tokens that the model reads at a time; longer documents are read window by window."""
    batch_size: int = Field(32, ge=1)
    """Windows in one forward pass."""
    dimensions: int = Field(256, ge=2)
    """Length of the vectors of latent semantic analysis (LSA)."""
    center: bool = True
    """Whether the mean of all embeddings is taken off, which spreads the states of language models over all directions."""
    neighbours: int = Field(16, ge=1)
    """Nearest neighbours of a document that are looked at."""
    expansion: int = Field(128, ge=1)
    """Candidates of the approximate search: more of them miss fewer neighbours and take more time."""


class Semantic(DedupStage[SemanticConfig]):
    """Semantic duplicates as in SemDeDup (Abbas et al. 2023, https://arxiv.org/abs/2303.09540).

    Neighbours are searched approximately, by usearch, instead of in k-means clusters; the cosine of each found pair is
    then computed exactly, so no pair below the threshold is joined. Texts that are equal are joined without embedding.
    """

    name = "semantic"
    Config = SemanticConfig
    machine_dependent: ClassVar[bool] = True

    def external_inputs(self) -> Mapping[str, str]:
        """The digest of the model's files, as in dvc.lock."""
        from workbench.artifacts import digests

        if self.config.model is None:
            return {}
        if not (Path(self.config.model) / "config.json").is_file():
            raise ArtifactError("there is no model", self.config.model, "set `model:` to the directory of a Hugging Face model")
        return {"model": digests.of(Path(self.config.model))}

    def find_duplicates(self, corpus: Corpus, run: Run) -> Clusters:
        """Join equal texts, embed one of each, and join the neighbours among them."""
        import hashlib

        import numpy as np

        identical = Clusters.from_keys(hashlib.sha256(text.encode()).digest() for text in corpus.texts()).firsts()
        distinct = np.unique(identical)
        vectors = self._embed(corpus, distinct, run)
        return Clusters(self._join(vectors, run).labels[np.searchsorted(distinct, identical)])

    def _embed(self, corpus: Corpus, rows: Rows, run: Run) -> Vectors:
        """Unit vectors of the documents at these rows, (rows, D)."""
        from workbench_dedup_semantic.embedding import Encoder, lsa, unit

        wanted = set(rows.tolist())
        chosen = (text for row, text in enumerate(corpus.texts()) if row in wanted)
        texts = run.track(chosen, unit="documents", total=len(rows), label="embeddings")
        config = self.config
        if config.model is None:
            return unit(lsa(texts, config.dimensions, run.seed), center=config.center)
        encoder = Encoder(Path(config.model), config.layer, config.window, run.compute.device)
        return unit(encoder.embed(texts, len(rows), config.batch_size), center=config.center)

    def _join(self, vectors: Vectors, run: Run) -> Clusters:
        """Connected components of the pairs, (N, D) → N labels.

        A group with more members than a document has neighbours may come out in pieces. So the first document of each piece
        with a member all of whose neighbours are duplicates is searched again, for four times as many neighbours.
        """
        import numpy as np

        from workbench_dedup_semantic.neighbours import Graph

        graph = Graph(vectors, self.config.expansion)
        documents = np.arange(len(vectors))
        clusters, rows, number = Clusters(documents), documents, self.config.neighbours + 1  # the nearest one is itself
        while len(rows):
            number = min(number, len(documents))
            left, right, crowded = self._pairs(graph, rows, number, run)
            ends = np.concatenate([documents, left]), np.concatenate([clusters.firsts(), right])
            clusters = Clusters.from_pairs(len(documents), *ends)
            rows = np.unique(clusters.firsts()[crowded]) if number < len(documents) else documents[:0]
            number *= 4
        return clusters

    def _pairs(self, graph: Graph, searched: Rows, number: int, run: Run) -> tuple[Rows, Rows, Rows]:
        """Both ends of each pair at the threshold or above, and the rows with no neighbour below it."""
        import numpy as np

        left, right, crowded = [], [], []
        for rows, others in run.track(graph.search(searched, number), unit="blocks", label="neighbours"):
            cosines = np.einsum("bd,bnd->bn", graph.vectors[rows], graph.vectors[others])
            alike = cosines >= self.config.threshold - ROUNDING
            left.append(np.repeat(rows, alike.sum(axis=1)))
            right.append(others[alike])
            crowded.append(rows[alike.all(axis=1)])
        return np.concatenate(left), np.concatenate(right), np.concatenate(crowded)


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """Offer the plugin."""
    return [Semantic]
