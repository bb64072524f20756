"""Shingles: the sets of word n-grams by which two texts are compared (Broder 1997)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from workbench.artifacts.words import folded, words

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Hashes = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]

_PRODUCT = 8_000_000
_PAIRS = 20_000
_MULTIPLIER = 0x9E3779B97F4A7C15
_MODULUS = 1 << 64


@dataclass(frozen=True, eq=False)
class ShingleSets:
    """The shingles of many texts, as sorted distinct 64-bit hashes, text after text."""

    hashes: Hashes
    """All hashes, (total,)."""
    starts: Rows
    """Where each text's hashes begin, and where the last text's end, (texts + 1,)."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> Hashes:
        return self.hashes[self.starts[row] : self.starts[row + 1]]

    @cached_property
    def sizes(self) -> Rows:
        """Number of distinct shingles of each text, at least 1 each."""
        return np.diff(self.starts)

    @cached_property
    def vocabulary(self) -> Hashes:
        """The distinct hashes of all texts, sorted."""
        return _distinct(self.hashes)

    def known_in(self, vocabulary: Hashes) -> npt.NDArray[np.bool_]:
        """Which of all hashes the sorted vocabulary holds, (total,)."""
        if not len(vocabulary):
            return np.zeros(len(self.hashes), np.bool_)
        places = np.searchsorted(vocabulary, self.hashes)
        known: npt.NDArray[np.bool_] = vocabulary[np.minimum(places, len(vocabulary) - 1)] == self.hashes
        return known

    def matrix(self, vocabulary: Hashes) -> csr_array:
        """A row per text, a column per hash of the vocabulary, 1 where the text contains it; other shingles are left out."""
        from scipy.sparse import csr_array

        known = self.known_in(vocabulary)
        columns = np.searchsorted(vocabulary, self.hashes[known])
        owners = np.repeat(np.arange(len(self)), self.sizes)[known]
        starts = np.searchsorted(owners, np.arange(len(self) + 1))
        ones = np.ones(len(owners), np.int32)
        return csr_array((ones, columns, starts), shape=(len(self), len(vocabulary)))

    def jaccard(self, left: Rows, right: Rows) -> npt.NDArray[np.float64]:
        """Exact Jaccard similarity of the pairs (left[k], right[k]), (pairs,)."""
        matrix = self._matrix
        shared = [
            matrix[left[start : start + _PAIRS]].multiply(matrix[right[start : start + _PAIRS]]).sum(axis=1)
            for start in range(0, len(left), _PAIRS)
        ]
        common = np.concatenate(shared).astype(np.float64) if shared else np.zeros(0)
        return common / (self.sizes[left] + self.sizes[right] - common)

    @cached_property
    def _matrix(self) -> csr_array:
        return self.matrix(self.vocabulary)

    def take(self, rows: Rows) -> ShingleSets:
        """The sets of some texts."""
        return _joined([self[int(row)] for row in rows])

    def keys(self) -> list[bytes]:
        """A digest of each set: equal for two texts with the same shingles."""
        return [hashlib.blake2b(self[row].tobytes(), digest_size=16).digest() for row in range(len(self))]


def shingle(texts: Iterable[str], ngram: int) -> ShingleSets:
    """The word n-grams of each text: words without case and in one Unicode form, punctuation and blanks ignored.

    A text of fewer than ``ngram`` words is one shingle; one without any word is compared by its characters.
    The hashes depend on the text alone, so sets computed at different times can be compared.
    """
    known: dict[str, int] = {}
    return _joined([_of_text(text, ngram, known) for text in texts])


def sequences(texts: Iterable[str], lengths: Iterable[int]) -> Iterator[Hashes]:
    """The hashes, sorted, of each text's word sequences of these lengths; equal to the shingle of a text of just these words."""
    wanted = sorted(set(lengths))
    known: dict[str, int] = {}
    for text in texts:
        hashes = _hashes(words(text), known)
        found = [_windows(hashes, width) for width in wanted if width <= len(hashes)]
        yield _distinct(np.concatenate(found)) if found else np.zeros(0, np.uint64)


def _joined(sets: list[Hashes]) -> ShingleSets:
    starts = np.zeros(len(sets) + 1, np.int64)
    np.cumsum([len(hashes) for hashes in sets], out=starts[1:])
    return ShingleSets(np.concatenate(sets) if sets else np.zeros(0, np.uint64), starts)


def _of_text(text: str, ngram: int, known: dict[str, int]) -> Hashes:
    hashes = _hashes(words(text) or [folded(text).strip()], known)
    return _distinct(_windows(hashes, min(ngram, len(hashes))))


def _hashes(found: list[str], known: dict[str, int]) -> Hashes:
    """A hash per word, (words,); ``known`` remembers them from text to text."""
    for word in found:
        if word not in known:
            known[word] = int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
    return np.fromiter((known[word] for word in found), np.uint64, len(found))


def _windows(hashes: Hashes, width: int) -> Hashes:
    """A hash per sequence of ``width`` words, (words - width + 1,)."""
    total = np.zeros(len(hashes) - width + 1, np.uint64)
    for place in range(width):
        total += hashes[place : place + len(total)] * np.uint64(pow(_MULTIPLIER, place + 1, _MODULUS))
    return _mixed(total)


def _distinct(values: Hashes) -> Hashes:
    # np.unique takes a hash table for this, which is six times as slow on millions of hashes.
    ordered = np.sort(values)
    new = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    return ordered[new]


def _mixed(values: Hashes) -> Hashes:
    # The finaliser of MurmurHash3: without it, n-grams that share words would have related hashes.
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return values ^ (values >> np.uint64(33))


@dataclass(frozen=True, eq=False)
class Shared:
    """Pairs of a query and a target with at least one shingle in common."""

    queries: Rows
    targets: Rows
    counts: npt.NDArray[np.float64]
    """Number of shingles that the two have in common."""


def shared(queries: ShingleSets, targets: ShingleSets) -> Iterator[Shared]:
    """All pairs of a query and a target that share a shingle, in blocks of bounded memory."""
    vocabulary = np.intersect1d(queries.vocabulary, targets.vocabulary, assume_unique=True)
    left, right = queries.matrix(vocabulary), targets.matrix(vocabulary)
    if not left.nnz:
        return
    transposed = right.T.tocsr()
    frequency = np.diff(transposed.indptr)
    cost = np.concatenate([[0], np.cumsum(frequency[left.indices])])[left.indptr]
    start = 0
    while start < len(queries):
        stop = max(start + 1, int(np.searchsorted(cost, cost[start] + _PRODUCT, side="right")) - 1)
        product = (left[start:stop] @ transposed).tocoo()
        rows, columns = product.coords
        yield Shared(rows.astype(np.int64) + start, columns.astype(np.int64), product.data.astype(np.float64))
        start = stop
