"""The n-grams of a corpus, counted with sorting alone, in a trie of sorted integer arrays.

An n-gram is the (n-1)-gram before its last token, its context, and that token. Its key is ``context × V + token``, where
the context is the place of the (n-1)-gram in the table one order below, and V the size of the vocabulary. So a key fits 64
bits whatever the order, a table is one sorted array, and all continuations of a context stand side by side in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
UNSEEN = -1
"""Place of an n-gram that is in no table."""


@dataclass(frozen=True)
class Table:
    """All n-grams of one order."""

    keys: Integers
    """Sorted keys (n-grams,). Those of order 1 are all tokens, seen or not: 0 … V-1."""
    counts: Integers
    """How often each was seen (n-grams,)."""


@dataclass(frozen=True)
class Trie:
    """The tables of the orders 1 … N."""

    tables: tuple[Table, ...]
    vocabulary: int

    @property
    def order(self) -> int:
        """N."""
        return len(self.tables)

    def table(self, order: int) -> Table:
        """The n-grams of one order, from 1."""
        return self.tables[order - 1]

    def contexts(self, order: int) -> Integers:
        """Place of each n-gram's context in the table below (n-grams,)."""
        return self.table(order).keys // self.vocabulary

    def words(self, order: int) -> Integers:
        """Last token of each n-gram (n-grams,)."""
        return self.table(order).keys % self.vocabulary

    def find(self, order: int, contexts: Integers, words: Integers) -> Integers:
        """Places of the n-grams made of these contexts and words, of any shape; ``UNSEEN`` where there is none."""
        keys = self.table(order).keys
        if not len(keys):
            return np.full(contexts.shape, UNSEEN)
        wanted = contexts * self.vocabulary + words
        places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where((contexts != UNSEEN) & (keys[places] == wanted), places, UNSEEN)

    def sum_by_context(self, order: int, values: NDArray[np.generic]) -> Floats:
        """Sum over the continuations of each context (contexts,)."""
        return np.bincount(self.contexts(order), values, minlength=len(self.table(order - 1).keys)).astype(np.float64)

    def suffixes(self) -> tuple[Integers, ...]:
        """For each order from 2: the place of each n-gram without its first token in the table below (n-grams,)."""
        found = [self.words(2)] if self.order > 1 else []
        for order in range(3, self.order + 1):
            found.append(self.find(order - 1, found[-1][self.contexts(order)], self.words(order)))
        return tuple(found)

    def first_words(self) -> tuple[Integers, ...]:
        """For each order from 1: the first token of each n-gram (n-grams,)."""
        found = [np.arange(self.vocabulary)]
        for order in range(2, self.order + 1):
            found.append(found[-1][self.contexts(order)])
        return tuple(found)


def count(documents: Iterable[Sequence[int]], order: int, vocabulary: int, boundary: int) -> Trie:
    """Count the n-grams up to ``order`` of documents that begin after ``boundary`` and end with it; none crosses documents."""
    pieces = [np.asarray([boundary, *ids, boundary], dtype=np.int64) for ids in documents]
    stream = np.concatenate(pieces) if pieces else np.empty(0, np.int64)
    document = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
    begins = np.ones(len(stream), dtype=bool)
    begins[1:] = document[1:] != document[:-1]
    tables = [Table(np.arange(vocabulary), np.bincount(stream[~begins], minlength=vocabulary))]
    places = stream  # of the n-gram that begins at each position, UNSEEN where it would leave its document
    for length in range(2, order + 1):
        contexts, words = places[: max(0, len(stream) - length + 1)], stream[length - 1 :]
        whole = document[: len(contexts)] == document[length - 1 :]
        keys, inverse, counts = np.unique(contexts[whole] * vocabulary + words[whole], return_inverse=True, return_counts=True)
        tables.append(Table(keys, counts))
        places = np.full(len(contexts), UNSEEN)
        places[whole] = inverse
    return Trie(tuple(tables), vocabulary)
