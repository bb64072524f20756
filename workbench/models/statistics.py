"""Intervals for evaluations: examples of one group are dependent, and models are compared on the same examples.

Clustered standard errors after Miller 2024, "Adding Error Bars to Evals" (https://arxiv.org/abs/2411.00640); intervals
of shares after Wilson 1927; the cluster bootstrap resamples whole groups, and its percentiles are widened for few groups
as in Hesterberg 2015 (https://arxiv.org/abs/1411.5279, section 5.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONFIDENCE = 0.95
POWER = 0.8
FEWEST_GROUPS = 6
"""Of groups that may lie on either side of zero, five or fewer lie all on one side in more than 5 % of cases (2 · 2⁻⁵), and no
resample of them crosses zero; so an interval begins at six."""
RESAMPLES = 2_000
RESAMPLED_AT_ONCE = 2_000_000
"""Bootstrap draws held in memory at a time."""


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
    examples: int
    groups: int

    @property
    def minimum_detectable_effect(self) -> float:
        """The smallest true value that such a sample distinguishes from zero with probability 0.8 at the 5 % level."""
        return (NormalDist().inv_cdf((1 + CONFIDENCE) / 2) + NormalDist().inv_cdf(POWER)) * self.standard_error


def wilson(successes: int, trials: int) -> Interval:
    """The 95 % interval of a share of independent trials.

    Raises:
        ValueError: there are no trials, or more successes than trials.
    """
    from scipy.stats import binomtest

    found = binomtest(successes, trials).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(successes / trials, float(found.low), float(found.high))


def clustered_mean(
    scores: Sequence[float], groups: Sequence[str], *, weights: Sequence[float] | None = None, seed: int = 0
) -> ClusteredMean:
    """The weighted mean of ``scores`` with its clustered standard error and bootstrap interval.

    Weights are part of the data, such as a document's bytes: sums and weights are resampled together.

    Raises:
        ValueError: lengths differ, weights are not positive, or there are fewer than :data:`FEWEST_GROUPS` groups.
    """
    import numpy as np

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
    mean = float(sums.sum() / sizes.sum())
    low, high = _bootstrap(sums, sizes, seed)
    return ClusteredMean(mean, low, high, _standard_error(sums, sizes, mean), len(values), len(names))


def paired_difference(
    before: Sequence[float],
    after: Sequence[float],
    groups: Sequence[str],
    *,
    weights: Sequence[float] | None = None,
    seed: int = 0,
) -> ClusteredMean:
    """The mean of ``after - before`` over the same examples, in the same order.

    Raises:
        ValueError: as :func:`clustered_mean`, or the two differ in length.
    """
    differences = [second - first for first, second in zip(before, after, strict=True)]
    return clustered_mean(differences, groups, weights=weights, seed=seed)


def _standard_error(sums: NDArray[np.float64], sizes: NDArray[np.float64], mean: float) -> float:
    """The sandwich estimate for a ratio of sums, with the correction for few groups."""
    groups = len(sums)
    residuals = sums - mean * sizes
    return float(math.sqrt(groups / (groups - 1) * float((residuals**2).sum())) / float(sizes.sum()))


def _bootstrap(sums: NDArray[np.float64], sizes: NDArray[np.float64], seed: int) -> tuple[float, float]:
    import numpy as np

    generator = np.random.default_rng(seed)
    groups = len(sums)
    means: list[Any] = []
    left = RESAMPLES
    while left:
        number = min(left, max(1, RESAMPLED_AT_ONCE // groups))
        counts = generator.multinomial(groups, np.full(groups, 1 / groups), size=number)  # (number, G)
        means.append((counts @ sums) / (counts @ sizes))
        left -= number
    tail = _expanded_tail(groups)
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)


def _expanded_tail(groups: int) -> float:
    """The share cut off at each end: 2.5 % for many groups, less for few, where plain percentiles are too narrow."""
    from scipy.stats import t

    quantile = float(t.ppf((1 + CONFIDENCE) / 2, groups - 1))
    return NormalDist().cdf(-math.sqrt(groups / (groups - 1)) * quantile)
