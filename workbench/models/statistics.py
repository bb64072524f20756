"""Intervals for evaluations: examples of one group are dependent, and models are compared on the same examples.

Clustered standard errors as Miller 2024 asks for, "Adding Error Bars to Evals" (https://arxiv.org/abs/2411.00640); intervals of
shares after Wilson 1927. With few groups, or groups of very different sizes, the usual formula is too sure of itself: here the
variance is that of Bell and McCaffrey (CR2) and the interval Student's, with their degrees of freedom (Imbens and Kolesár 2016,
https://doi.org/10.1162/REST_a_00552). Neither scipy nor statsmodels has these; ``tests/interval_coverage.py`` simulates their
coverage.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONFIDENCE = 0.95
POWER = 0.8
FEWEST_GROUPS = 6
"""Of groups that may lie on either side of zero, five or fewer lie all on one side in more than 5 % of cases (2 · 2⁻⁵); so an
interval begins at six."""
MOST_BLOCKS = 100
"""Of a jackknife: each computes the statistic once more."""


@dataclass(frozen=True)
class Interval:
    """An estimate and the interval that holds the truth in 95 % of repetitions."""

    estimate: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside the interval."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class ClusteredMean(Interval):
    """A mean over examples that come in dependent groups."""

    standard_error: float
    degrees_of_freedom: float
    """Those of Student's distribution that the interval is of: groups less one, and fewer where groups differ in size."""
    examples: int
    groups: int

    @property
    def minimum_detectable_effect(self) -> float:
        """The smallest true value that such a sample distinguishes from zero with probability 0.8 at the 5 % level."""
        from scipy.stats import t

        quantiles = t.ppf([(1 + CONFIDENCE) / 2, POWER], self.degrees_of_freedom)
        return float(quantiles.sum()) * self.standard_error


def wilson(successes: int, trials: int) -> Interval:
    """The 95 % interval of a share of independent trials.

    Raises:
        ValueError: there are no trials, or more successes than trials.
    """
    from scipy.stats import binomtest

    found = binomtest(successes, trials).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(successes / trials, float(found.low), float(found.high))


def clustered_mean(scores: Sequence[float], groups: Sequence[str], *, weights: Sequence[float] | None = None) -> ClusteredMean:
    """The weighted mean of ``scores`` with its clustered standard error and interval.

    Weights are part of the data, such as a document's bytes.

    Raises:
        ValueError: lengths differ, weights are not positive, or there are fewer than :data:`FEWEST_GROUPS` groups.
    """
    import numpy as np
    from scipy.stats import t

    values = np.asarray(scores, dtype=np.float64)
    weight = np.ones_like(values) if weights is None else np.asarray(weights, dtype=np.float64)
    if not len(values) == len(groups) == len(weight):
        raise ValueError(f"{len(values)} scores, {len(groups)} groups and {len(weight)} weights")
    names, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(names) < FEWEST_GROUPS:
        raise ValueError(f"{len(names)} groups of examples: an interval needs at least {FEWEST_GROUPS}")
    if not (weight > 0).all():
        raise ValueError("weights must be positive")
    sums: NDArray[np.float64] = np.bincount(index, weights=values * weight).astype(np.float64)  # (G,)
    sizes: NDArray[np.float64] = np.bincount(index, weights=weight).astype(np.float64)  # (G,)
    shares = sizes / sizes.sum()
    means = sums / sizes
    mean = float(shares @ means)
    spread = shares**2 / (1 - shares)  # (G,) how much each group's squared distance from the mean counts
    error = math.sqrt(float(spread @ (means - mean) ** 2))
    freedom = _degrees_of_freedom(shares, spread)
    half = float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    return ClusteredMean(mean, mean - half, mean + half, error, freedom, len(values), len(names))


def paired_difference(
    before: Sequence[float],
    after: Sequence[float],
    groups: Sequence[str],
    *,
    weights: Sequence[float] | None = None,
) -> ClusteredMean:
    """The mean of ``after - before`` over the same examples, in the same order.

    Raises:
        ValueError: as :func:`clustered_mean`, or the two differ in length.
    """
    differences = [second - first for first, second in zip(before, after, strict=True)]
    return clustered_mean(differences, groups, weights=weights)


@dataclass(frozen=True)
class Jackknife:
    """A statistic of a whole sample, shared out among its examples."""

    values: tuple[float, ...]
    """One per example. Their mean is the statistic, and their clustered standard error that of the jackknife."""
    blocks: tuple[str, ...]
    """One per example: the groups to cluster the values by."""


def jackknife(statistic: Callable[[Sequence[int]], float], groups: Sequence[str]) -> Jackknife:
    """Values of the examples for a statistic that is no mean, such as a correlation or BLEU.

    Each group is left out in turn (Efron and Tibshirani 1993, chapter 11). More than :data:`MOST_BLOCKS` groups are first joined
    into so many blocks, by a hash of their names, so that the same groups always make the same blocks. The statistic has to be
    smooth: the jackknife of a median is wrong.

    Args:
        statistic: its value over the examples at some places.
        groups: one per example.

    Raises:
        ValueError: there is no example.
    """
    if not groups:
        raise ValueError("a statistic of no example")
    blocks = _blocks(groups)
    members: dict[str, list[int]] = defaultdict(list)
    for place, block in enumerate(blocks):
        members[block].append(place)
    whole, count = statistic(range(len(groups))), len(members)
    if count == 1:
        return Jackknife((whole,) * len(groups), blocks)
    without = {block: statistic([place for place, other in enumerate(blocks) if other != block]) for block in members}
    centre = math.fsum(without.values()) / count
    shares = {  # (G - 1) times what the block adds, spread over its examples
        block: (count - 1) * (centre - without[block]) * len(groups) / (count * len(places)) for block, places in members.items()
    }
    return Jackknife(tuple(whole + shares[block] for block in blocks), blocks)


def _blocks(groups: Sequence[str]) -> tuple[str, ...]:
    names = sorted(set(groups), key=lambda name: hashlib.sha256(name.encode("utf-8")).digest())
    if len(names) <= MOST_BLOCKS:
        return tuple(groups)
    block = {name: f"block-{place % MOST_BLOCKS}" for place, name in enumerate(names)}
    return tuple(block[name] for name in groups)


def _degrees_of_freedom(shares: NDArray[np.float64], spread: NDArray[np.float64]) -> float:
    """Satterthwaite's, (tr A)² / tr A², of the variance as a quadratic form A of group means that vary equally.

    With h the shares and d the spread, A = (I - 1h')' diag(d) (I - 1h'); its traces need no (G, G) matrix.
    """
    total, both, squares, cross = (float(x) for x in (spread.sum(), shares @ spread, shares @ shares, spread @ spread))
    trace = total - 2 * both + total * squares
    diagonal = float(-2 * shares @ spread**2 + total * (spread @ shares**2))
    rest = 2 * (both**2 + squares * cross) - 4 * total * both * squares + (total * squares) ** 2
    return trace**2 / (cross + 2 * diagonal + rest)
