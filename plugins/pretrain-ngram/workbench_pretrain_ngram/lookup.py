"""Distributions over the vocabulary at many positions at once.

Shapes: B sequences of T tokens, P positions asked for, V vocabulary.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workbench_pretrain_ngram.counting import UNSEEN, Integers, Trie
from workbench_pretrain_ngram.smoothing import Smoothed


class Lookup:
    """A smoothed trie, ready to answer."""

    def __init__(self, trie: Trie, smoothed: Smoothed) -> None:
        self._trie, self._smoothed = trie, smoothed
        self._base = smoothed.base.astype(np.float32)
        sizes = [len(table.keys) for table in trie.tables]
        self._starts = [  # where the continuations of each context begin, (contexts + 1,), for the orders from 2
            np.searchsorted(trie.table(order).keys, np.arange(sizes[order - 2] + 1) * trie.vocabulary)
            for order in range(2, trie.order + 1)
        ]
        self._words = [trie.words(order) for order in range(2, trie.order + 1)]

    def log_probabilities(self, tokens: Integers, mask: NDArray[np.bool_], last: int) -> NDArray[np.float32]:
        """What follows each of the last positions: (B, T) to (B, last, V), natural logarithms.

        Where ``mask`` (B, T) is False there is padding, and no context reaches across it.
        """
        contexts = [found[:, -last:].reshape(-1) for found in self._contexts(tokens, mask)]  # N-1 times (P,)
        scales = np.ones(contexts[0].shape if contexts else tokens[:, -last:].size)
        parts = []
        for context, level in reversed(list(zip(contexts, self._smoothed.levels, strict=True))):
            known = context != UNSEEN
            parts.append(scales.copy())
            scales[known] *= level.weights[context[known]]
        result = scales.astype(np.float32)[:, None] * self._base  # (P, V)
        for index, (context, scale) in enumerate(zip(contexts, reversed(parts), strict=True)):
            self._lay_over(result, index, context, scale)
        np.log(result, out=result)
        return result.reshape(len(tokens), last, -1)

    def _contexts(self, tokens: Integers, mask: NDArray[np.bool_]) -> list[Integers]:
        """Places of the 1 … N-1 tokens up to and with each position, N-1 times (B, T)."""
        found, grams = [], np.where(mask, tokens, UNSEEN)  # grams: of the n-gram that begins at each position
        for length in range(1, self._trie.order):
            if length > 1:
                grams = self._trie.find(length, grams[:, :-1], tokens[:, length - 1 :])
                grams[~mask[:, length - 1 :]] = UNSEEN
            ends = np.full(tokens.shape, UNSEEN)
            ends[:, length - 1 :] = grams
            found.append(ends)
        return found if self._smoothed.backs_off else _longest_only(found, mask)

    def _lay_over(self, result: NDArray[np.float32], index: int, contexts: Integers, scales: NDArray[np.float64]) -> None:
        """Bring in what an order says of the words that were seen after these contexts."""
        rows = np.flatnonzero(contexts != UNSEEN)
        begins, ends = (self._starts[index][contexts[rows] + shift] for shift in (0, 1))
        lengths = ends - begins
        rows = np.repeat(rows, lengths)
        places = np.arange(len(rows)) + np.repeat(begins - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
        values = (scales[rows] * self._smoothed.levels[index].values[places]).astype(np.float32)
        if self._smoothed.adds:
            result[rows, self._words[index][places]] += values
        else:
            result[rows, self._words[index][places]] = values


def _longest_only(found: list[Integers], mask: NDArray[np.bool_]) -> list[Integers]:
    """At each position, only the longest context that the sequence has room for, seen or not."""
    reach = np.zeros(mask.shape, dtype=np.int64)  # tokens up to and with each position, since the last padding
    for column in range(mask.shape[1]):
        before = reach[:, column - 1] if column else 0
        reach[:, column] = np.where(mask[:, column], before + 1, 0)
    longest = np.minimum(reach, len(found))
    return [np.where(longest == length, places, UNSEEN) for length, places in enumerate(found, 1)]
