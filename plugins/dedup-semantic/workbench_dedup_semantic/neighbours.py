"""Approximate nearest neighbours of unit vectors, by usearch's HNSW graph (Malkov and Yashunin 2018).

The paper: https://arxiv.org/abs/1603.09320. Importing this module imports numpy and usearch.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from usearch.index import Index

CONNECTIVITY = 32
"""Edges of a node of the graph; more of them find more true neighbours and take more memory."""
EXPANSION_ADD = 128
"""Candidates that are looked at where a vector is added."""
PAIRS = 1 << 13
"""Pairs of a block."""

Rows = npt.NDArray[np.int64]


class Graph:
    """Vectors of length 1, (N, D), made ready for the search of neighbours among them.

    One thread adds the vectors, since their order decides the graph, so the same vectors have the same neighbours.
    """

    def __init__(self, vectors: npt.NDArray[np.float32], expansion: int) -> None:
        """Add the vectors; a search looks at ``expansion`` candidates, or as many as are asked for."""
        self.vectors = vectors
        self._index = Index(
            ndim=vectors.shape[1],
            metric="ip",
            dtype="f32",
            connectivity=CONNECTIVITY,
            expansion_add=EXPANSION_ADD,
            expansion_search=expansion,
        )
        self._index.add(np.arange(len(vectors)), vectors, threads=1)

    def search(self, rows: Rows, number: int) -> Iterator[tuple[Rows, Rows]]:
        """Blocks of B of the rows with the ``number`` rows most similar to each, itself among them: (B,), (B, number).

        Where fewer are found, the row itself fills up.
        """
        size = max(1, PAIRS // number)
        for start in range(0, len(rows), size):
            block = rows[start : start + size]
            matches = self._index.search(self.vectors[block], number, threads=1)
            keys, distances = np.atleast_2d(matches.keys), np.atleast_2d(matches.distances)  # a block of one gives one row
            others = np.repeat(block[:, None], number, axis=1)
            others[:, : keys.shape[1]] = np.where(np.isnan(distances), block[:, None], keys)
            yield block, others
