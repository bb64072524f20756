"""Dedup ``minhash``: near-duplicates by MinHash and locality-sensitive hashing, verified exactly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import Field

from workbench import hookimpl
from workbench.artifacts.corpus import Corpus
from workbench.kinds.dedup import Clusters, DedupConfig, DedupStage
from workbench.plugin import Plugin
from workbench.run import Run

if TYPE_CHECKING:
    from datasketch import MinHash as Signature

    from workbench.artifacts.shingles import Rows, ShingleSets

# Candidates are verified, so a false one costs only time: the bands are chosen to miss few.
_WEIGHTS = (0.1, 0.9)
_PAIRS = 200_000
_VALUES = 20_000


class MinHashConfig(DedupConfig):
    """Configuration of ``minhash``."""

    threshold: float = Field(0.7, ge=0.1, le=1)
    """Jaccard similarity of their shingles from which on two documents are duplicates."""
    permutations: int = Field(128, ge=16, le=1024)
    """Length of a signature: more of them miss fewer duplicates and take more time."""


class MinHash(DedupStage[MinHashConfig]):
    """Near-duplicates by MinHash LSH (Broder 1997, https://doi.org/10.1109/SEQUEN.1997.666900), hashed by datasketch.

    Every candidate pair is checked against the exact Jaccard similarity, so no pair below the threshold is joined;
    what LSH may miss are pairs just above it.
    """

    name = "minhash"
    Config = MinHashConfig

    def find_duplicates(self, corpus: Corpus, run: Run) -> Clusters:
        """Join every verified pair; a cluster is a connected component of them."""
        import numpy as np

        shingles = self.shingles(corpus, run)
        identical = Clusters.from_keys(shingles.keys()).firsts()
        distinct = np.unique(identical)
        clusters = Clusters(identical)
        for left, right in self._candidates(shingles, distinct, run):
            alike = shingles.jaccard(left, right) >= self.config.threshold
            joined = np.concatenate([np.arange(len(shingles)), left[alike]])
            clusters = Clusters.from_pairs(len(shingles), joined, np.concatenate([clusters.firsts(), right[alike]]))
        return clusters

    def _candidates(self, shingles: ShingleSets, rows: Rows, run: Run) -> Iterator[tuple[Rows, Rows]]:
        """Pairs of documents with an equal band of their signatures, in blocks of bounded memory."""
        import numpy as np
        from datasketch import MinHashLSH

        index = MinHashLSH(self.config.threshold, self.config.permutations, weights=_WEIGHTS)
        left: list[int] = []
        right: list[int] = []
        signatures = self._signatures(shingles, rows, run)
        for row, signature in zip(rows.tolist(), signatures, strict=True):
            found = index.query(signature)
            left += [row] * len(found)
            right += found
            index.insert(row, signature, check_duplication=False)
            if len(left) >= _PAIRS:
                yield np.array(left, np.int64), np.array(right, np.int64)
                left, right = [], []
        yield np.array(left, np.int64), np.array(right, np.int64)

    def _signatures(self, shingles: ShingleSets, rows: Rows, run: Run) -> Iterator[Signature]:
        import numpy as np
        from datasketch import MinHash as Signature

        empty = Signature(self.config.permutations, run.seed % 2**32, hashfunc=_identity, scheme="affine32")
        for row in run.track(rows.tolist(), unit="documents", total=len(rows), label="minhash"):
            signature = empty.copy()
            hashes = (shingles[row] >> np.uint64(32)).tolist()
            for start in range(0, len(hashes), _VALUES):
                signature.update_batch(hashes[start : start + _VALUES])
            yield signature


def _identity(value: int) -> int:
    return value


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """Offer the plugin."""
    return [MinHash]
