"""How often the 95 % interval of `workbench.models.statistics` holds the truth, by simulation.

`python tests/interval_coverage.py` prints the table for few groups, unequal ones and skewed scores.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from workbench.models.statistics import clustered_mean

TRIALS = 4_000
GROUPS = (6, 8, 12, 20, 40)
Floats = NDArray[np.float64]
Sample = tuple[Floats, Floats]
"""Means of groups (G,), whose expectation is 0, and their weights (G,)."""


def equal(generator: np.random.Generator, groups: int) -> Sample:
    """Groups of four examples, a common effect in each."""
    effects = generator.normal(0, 1, groups)
    return effects + generator.normal(0, 0.5, (4, groups)).mean(0), np.full(groups, 4.0)


def accuracy(generator: np.random.Generator, groups: int) -> Sample:
    """Differences of right and wrong between two equal models, ten questions a group."""
    ability = generator.beta(4, 4, groups)
    other = np.clip(ability + generator.normal(0, 0.1, groups), 0, 1)
    return (generator.binomial(10, other) - generator.binomial(10, ability)) / 10, np.full(groups, 10.0)


def unequal(generator: np.random.Generator, groups: int) -> Sample:
    """Groups of 1 to 40 examples, a common effect in each."""
    sizes = generator.choice([1.0, 2.0, 4.0, 8.0, 40.0], groups)
    return generator.normal(0, 1, groups) + generator.normal(0, 1, groups) / np.sqrt(sizes), sizes


def documents(generator: np.random.Generator, groups: int) -> Sample:
    """Documents whose bytes, the weights, are log-normal."""
    return generator.normal(0, 0.3, groups), np.exp(generator.normal(6, 1, groups))


def skewed(generator: np.random.Generator, groups: int) -> Sample:
    """Exponential scores, which no symmetric interval of few groups fits."""
    return generator.exponential(1, groups) - 1, np.full(groups, 4.0)


KINDS: tuple[Callable[[np.random.Generator, int], Sample], ...] = (equal, accuracy, unequal, documents, skewed)


def coverage(kind: Callable[[np.random.Generator, int], Sample], groups: int, trials: int = TRIALS, seed: int = 0) -> float:
    """The share of trials whose interval holds 0."""
    generator = np.random.default_rng(seed)
    names = [str(group) for group in range(groups)]
    held = 0
    for _ in range(trials):
        means, weights = kind(generator, groups)
        found = clustered_mean(means.tolist(), names, weights=weights.tolist())
        held += found.low <= 0 <= found.high
    return held / trials


if __name__ == "__main__":
    print("groups    " + "".join(f"{groups:>8}" for groups in GROUPS))
    for kind in KINDS:
        print(f"{kind.__name__:10}" + "".join(f"{coverage(kind, groups):8.1%}" for groups in GROUPS))
