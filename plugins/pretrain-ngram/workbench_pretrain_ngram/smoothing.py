"""From counts to probabilities: modified Kneser-Ney, Katz with Good-Turing, add-k.

All three give the same two things for each order: a value for each n-gram that was seen, and for each context the
weight of what is left, which the order below divides. Kneser-Ney adds the two (interpolation); Katz takes the order below
only for words that were not seen (backoff); add-k divides what is left evenly, and looks at one order alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from workbench_pretrain_ngram.counting import Floats, Integers, Trie

Method = Literal["kneser-ney", "good-turing", "add-k"]
CLASSES = 3
"""Kneser-Ney discounts counts of 1, of 2, and of 3 or more apart."""
DEFAULT_DISCOUNTS = (0.5, 1.0, 1.5)
"""Where the counts of counts are too few to estimate from, as on a tiny corpus."""
ZIPF_SLOPE = -2.0
"""Slope of the counts of counts in a log-log plot under Zipf's law (an exponent of 1)."""
NOTHING_LEFT = 1e-9
"""A context whose seen words have all but this much of the probability leaves none to the rest."""


@dataclass(frozen=True)
class Level:
    """What the n-grams of one order say."""

    values: Floats
    """Probability of each seen n-gram's last word in its context, or the part of it that this order adds (n-grams,)."""
    weights: Floats
    """Factor for what the order below says, for each context (contexts,); 1 where nothing followed it."""


@dataclass(frozen=True)
class Smoothed:
    """A language model: one distribution over the vocabulary for every context."""

    base: Floats
    """Distribution without any context, (V,); under add-k that of a context that was never seen."""
    levels: tuple[Level, ...]
    """Orders 2 … N."""
    method: Method

    @property
    def adds(self) -> bool:
        """Whether an order's values are added to what the orders below say, rather than take its place."""
        return self.method != "good-turing"

    @property
    def backs_off(self) -> bool:
        """Whether orders below the longest are asked at all."""
        return self.method != "add-k"


def estimate_discounts(trie: Trie, method: Method, *, boundary: int, k: float, cutoff: int) -> Floats:
    """The numbers that a method estimates from the counts of counts, one row for each order.

    Kneser-Ney: what is taken from counts of 1, 2, 3 and more (N, 3). Good-Turing: the factor for counts of
    1 … cutoff (N, cutoff). Add-k: k itself (N, 1).
    """
    if method == "add-k":
        return np.full((trie.order, 1), k)
    if method == "good-turing":
        return np.stack([_katz_factors(table.counts, cutoff) for table in trie.tables])
    return np.stack([_kneser_ney_discounts(counts) for counts in _continuation_counts(trie, boundary)])


def smooth(trie: Trie, method: Method, discounts: Floats, boundary: int) -> Smoothed:
    """The language model of the counts, with the discounts of :func:`estimate_discounts`."""
    if method == "add-k":
        return _add_k(trie, float(discounts[0, 0]))
    if method == "good-turing":
        return _katz(trie, discounts)
    return _kneser_ney(trie, discounts, boundary)


def _kneser_ney(trie: Trie, discounts: Floats, boundary: int) -> Smoothed:
    """Interpolated modified Kneser-Ney (Chen & Goodman 1999, https://doi.org/10.1006/csla.1999.0128, section 3)."""
    levels = []
    for order, counts in enumerate(_continuation_counts(trie, boundary), 1):
        taken = discounts[order - 1][np.clip(counts, 1, CLASSES) - 1] * (counts > 0)
        if order == 1:
            total = max(counts.sum(), 1)
            base = (counts - taken) / total + _share(taken.sum(), total) / trie.vocabulary
            continue
        totals = trie.sum_by_context(order, counts)
        weights = np.where(totals > 0, trie.sum_by_context(order, taken) / np.maximum(totals, 1), 1.0)
        levels.append(Level((counts - taken) / totals[trie.contexts(order)], weights))
    return Smoothed(base, tuple(levels), "kneser-ney")


def _share(taken: float, total: float) -> float:
    return taken / total if taken else 1.0


def _continuation_counts(trie: Trie, boundary: int) -> list[Integers]:
    """Counts of the longest order; below it, how many different tokens each n-gram was seen after.

    What begins with the boundary was seen after nothing, so its own count stands.
    """
    counts = [table.counts for table in trie.tables]
    firsts = trie.first_words()
    for order, suffixes in enumerate(trie.suffixes(), 1):
        after = np.bincount(suffixes, minlength=len(counts[order - 1]))
        counts[order - 1] = after if order == 1 else np.where(firsts[order - 1] == boundary, counts[order - 1], after)
    return counts


def _kneser_ney_discounts(counts: Integers) -> Floats:
    """D1, D2 and D3+ (Chen & Goodman 1999, equation 26)."""
    ones, twos, threes, fours = (int(np.count_nonzero(counts == number)) for number in (1, 2, 3, 4))
    if not all((ones, twos, threes, fours)):
        return np.array(DEFAULT_DISCOUNTS)
    y = ones / (ones + 2 * twos)
    found = np.array([1 - 2 * y * twos / ones, 2 - 3 * y * threes / twos, 3 - 4 * y * fours / threes])
    return found if (found > 0).all() else np.array(DEFAULT_DISCOUNTS)


def _katz(trie: Trie, factors: Floats) -> Smoothed:
    """Katz backoff (Katz 1987, https://doi.org/10.1109/TASSP.1987.1165125) with Good-Turing discounts."""
    base = _katz_unigrams(trie, factors[0])
    below, levels = base, []
    for order, suffixes in enumerate(trie.suffixes(), 2):
        counts, contexts = trie.table(order).counts, trie.contexts(order)
        values = _discounted(counts, factors[order - 1])
        totals = trie.sum_by_context(order, counts)
        complete = trie.sum_by_context(order, np.ones(len(counts))) == trie.vocabulary
        seen = trie.sum_by_context(order, values)
        # Where no count was small enough to be discounted, one more observation is made up, of an unseen word.
        totals += (totals - seen <= NOTHING_LEFT * totals) & ~complete & (totals > 0)
        totals = np.where(complete, seen, totals)
        values = values / totals[contexts]
        left = 1 - trie.sum_by_context(order, values)
        unseen = 1 - trie.sum_by_context(order, below[suffixes])
        weights = np.where(complete, 0.0, left / np.where(complete, 1.0, unseen))
        levels.append(Level(values, weights))
        below = values
    return Smoothed(base, tuple(levels), "good-turing")


def _katz_unigrams(trie: Trie, factors: Floats) -> Floats:
    counts = trie.table(1).counts
    values, total, unseen = _discounted(counts, factors), float(counts.sum()), counts == 0
    if not unseen.any():
        return np.asarray(values / values.sum())
    if total - values.sum() <= NOTHING_LEFT * total:
        total += 1
    return np.asarray(np.where(unseen, (1 - values.sum() / total) / unseen.sum(), values / total))


def _discounted(counts: Integers, factors: Floats) -> Floats:
    small = np.clip(counts, 1, len(factors)) - 1
    return np.asarray(np.where(counts <= len(factors), factors[small], 1.0) * counts)


def _katz_factors(counts: Integers, cutoff: int) -> Floats:
    """Good-Turing's r*/r for r = 1 … cutoff, made to take from small counts what unseen words get (Katz 1987, equation 20).

    Where the counts of counts are too ragged for it, they are first replaced by a line through them in a log-log plot (Gale
    & Sampson 1995, https://doi.org/10.1080/09296179508590051).
    """
    r = np.arange(1, cutoff + 1)
    numbers = np.bincount(counts[counts > 0], minlength=cutoff + 2)[: cutoff + 2].astype(float)
    if (numbers[1:] > 0).all():
        excess = (cutoff + 1) * numbers[cutoff + 1] / numbers[1]
        turing = (r + 1) * numbers[r + 1] / (r * numbers[r])
        if excess < 1 and (turing < 1).all() and (turing > excess).all():
            return np.asarray((turing - excess) / (1 - excess))
    return np.asarray((1 + 1 / r) ** (_slope(counts) + 1))


def _slope(counts: Integers) -> float:
    """Of the counts of counts in a log-log plot, each divided by the distance of its neighbours; below -1."""
    seen, numbers = np.unique(counts[counts > 0], return_counts=True)
    if len(seen) < 2:
        return ZIPF_SLOPE
    before = np.concatenate([[0], seen[:-1]])
    after = np.concatenate([seen[1:], [2 * seen[-1] - before[-1]]])
    slope = float(np.polyfit(np.log(seen), np.log(numbers / (0.5 * (after - before))), 1)[0])
    return slope if slope < -1 - NOTHING_LEFT else ZIPF_SLOPE


def _add_k(trie: Trie, k: float) -> Smoothed:
    """Additive smoothing (Lidstone 1920): every count is k greater than what was seen."""
    size, counts = trie.vocabulary, trie.table(1).counts
    levels = []
    for order in range(2, trie.order + 1):
        totals = trie.sum_by_context(order, trie.table(order).counts) + k * size
        levels.append(Level(trie.table(order).counts / totals[trie.contexts(order)], k * size / totals))
    base = np.full(size, 1 / size) if levels else (counts + k) / (counts.sum() + k * size)
    return Smoothed(base, tuple(levels), "add-k")


def count_seen(trie: Trie) -> Sequence[tuple[int, int]]:
    """Different n-grams, and those seen once, by order from 1."""
    return [(int(np.count_nonzero(table.counts)), int(np.count_nonzero(table.counts == 1))) for table in trie.tables]
