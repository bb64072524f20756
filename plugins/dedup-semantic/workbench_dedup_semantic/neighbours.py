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
BLOCK = 512

Rows = npt.NDArray[np.int64]


def nearest(vectors: npt.NDArray[np.float32], number: int, expansion: int) -> Iterator[tuple[Rows, Rows]]:
    """Blocks of B rows (B,) with the rows of the ``number`` vectors most similar to each, itself among them, (B, number).

    One thread adds the vectors, since their order decides the graph. Where fewer are found, the row itself fills up.

    Args:
        vectors: of length 1, (N, D).
        number: how many, at most N.
        expansion: candidates that are looked at in a search; more of them find more true neighbours and take more time.
    """
    index = Index(
        ndim=vectors.shape[1],
        metric="ip",
        dtype="f32",
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD,
        expansion_search=max(expansion, number),
    )
    rows = np.arange(len(vectors), dtype=np.int64)
    blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
    for block in blocks:
        index.add(block, vectors[block], threads=1)
    for block in blocks:
        matches = index.search(vectors[block], number, threads=1)
        keys, distances = np.atleast_2d(matches.keys), np.atleast_2d(matches.distances)  # a block of one gives one row
        yield block, np.where(np.isnan(distances), block[:, None], keys).astype(np.int64)
