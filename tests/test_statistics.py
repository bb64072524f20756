"""Intervals against known answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import interval_coverage as simulated
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student
from sklearn.metrics import matthews_corrcoef

from workbench.models.statistics import clustered_mean, jackknife, paired_difference, wilson


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_the_formula_of_1927(case: tuple[int, int]) -> None:
    successes, trials = case
    z, share = NormalDist().inv_cdf(0.975), successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    interval = wilson(successes, trials)
    assert interval.estimate == share
    assert (interval.low, interval.high) == pytest.approx((centre - half, centre + half), abs=1e-12)
    assert 0 <= interval.low <= interval.high <= 1


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 4)])
def test_wilson_refuses_impossible_counts(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="must"):
        wilson(successes, trials)


def test_one_example_per_group_gives_the_usual_standard_error() -> None:
    scores = [0.1, 0.4, 0.35, 0.8, 0.05, 0.6]
    result = clustered_mean(scores, [str(i) for i in range(6)])
    assert result.estimate == pytest.approx(np.mean(scores))
    assert result.standard_error == pytest.approx(np.std(scores, ddof=1) / math.sqrt(6))
    quantiles = student.ppf([0.975, 0.8], 5)
    assert (result.low, result.high) == pytest.approx(np.mean(scores) + quantiles[0] * np.array([-1, 1]) * result.standard_error)
    assert result.minimum_detectable_effect == pytest.approx(quantiles.sum() * result.standard_error)


def test_copies_within_groups_add_no_certainty() -> None:
    scores, groups = [0.0, 1.0, 1.0, 0.0, 1.0, 1.0], list("abcdef")
    once = clustered_mean(scores, groups)
    copied = clustered_mean(scores * 10, groups * 10)
    assert copied.standard_error == pytest.approx(once.standard_error)
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))
    assert (copied.examples, copied.groups) == (60, 6)


def test_weights_give_the_ratio_of_sums() -> None:
    result = clustered_mean([2.0, 1.0, 3.0] * 2, list("abcdef"), weights=[10, 30, 60] * 2)
    assert result.estimate == pytest.approx((20 + 30 + 180) / 100)
    shares = np.array([10, 30, 60] * 2) / 200
    spread = shares**2 / (1 - shares)
    assert result.standard_error == pytest.approx(math.sqrt(spread @ (np.array([2.0, 1.0, 3.0] * 2) - 2.3) ** 2))


@given(st.lists(st.floats(1, 1_000), min_size=6, max_size=12))
@settings(max_examples=40, deadline=None)
def test_degrees_of_freedom_are_those_of_bell_and_mccaffrey(weights: list[float]) -> None:
    """By the definition: the variance is a quadratic form of the groups' means, whose eigenvalues say how it is distributed."""
    shares = np.array(weights) / sum(weights)
    centring = np.eye(len(weights)) - np.outer(np.ones(len(weights)), shares)
    form = centring.T @ np.diag(shares**2 / (1 - shares)) @ centring
    expected = np.trace(form) ** 2 / np.trace(form @ form)
    names = [str(place) for place in range(len(weights))]
    found = clustered_mean([float(place) for place in range(len(weights))], names, weights=weights)
    assert found.degrees_of_freedom == pytest.approx(expected)
    assert 1 <= found.degrees_of_freedom <= len(weights) - 1 + 1e-9


def test_a_constant_difference_is_certain() -> None:
    result = paired_difference([0.1, 0.5, 0.9] * 2, [0.2, 0.6, 1.0] * 2, list("abcdef"))
    assert (result.low, result.high) == pytest.approx((0.1, 0.1))
    assert result.excludes_zero


@pytest.mark.parametrize(
    ("scores", "groups", "weights", "message"),
    [
        ([1.0, 2.0] * 3, list("abcdea"), None, "5 groups of examples: an interval needs at least 6"),
        ([1.0, 2.0], ["a"], None, "2 scores, 1 groups"),
        ([1.0, 2.0] * 3, list("abcdef"), [1.0, 0.0] * 3, "positive"),
    ],
)
def test_what_has_no_interval_is_refused(
    scores: list[float], groups: list[str], weights: list[float] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        clustered_mean(scores, groups, weights=weights)


@given(st.lists(st.tuples(st.floats(-5, 5), st.sampled_from("abcdefg")), min_size=6, max_size=40))
@settings(max_examples=40, deadline=None)
def test_order_of_examples_does_not_matter(examples: list[tuple[float, str]]) -> None:
    scores, groups = zip(*examples, *((0.5, group) for group in "abcdef"), strict=True)
    forward = clustered_mean(scores, groups)
    backward = clustered_mean(scores[::-1], groups[::-1])
    assert forward.estimate == pytest.approx(backward.estimate, abs=1e-9)
    assert (forward.low, forward.high) == pytest.approx((backward.low, backward.high), abs=1e-9)


@pytest.mark.parametrize("groups", [6, 8, 40])
@pytest.mark.parametrize("kind", [simulated.equal, simulated.accuracy, simulated.unequal, simulated.documents])
def test_intervals_cover_the_truth(kind: Callable[[np.random.Generator, int], simulated.Sample], groups: int) -> None:
    """In 94 % or more; three standard errors of the simulation are taken off."""
    trials = 1_000
    assert simulated.coverage(kind, groups, trials) >= 0.94 - 3 * math.sqrt(0.94 * 0.06 / trials)


def test_jackknife_values_of_a_mean_are_the_examples() -> None:
    scores = np.array([0.1, 0.4, 0.35, 0.8, 0.05, 0.6])
    found = jackknife(lambda kept: float(scores[list(kept)].mean()), list("abcdef"))
    assert found.values == pytest.approx(scores)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from("abcdefgh")), min_size=8, max_size=60))
@settings(max_examples=60, deadline=None)
def test_jackknife_values_add_up_to_the_statistic_and_its_error(examples: list[tuple[bool, bool, str]]) -> None:
    rows = [(True, True, "a"), (False, True, "b"), *examples]
    groups = [group for _, _, group in rows]

    def phi(kept: Sequence[int]) -> float:
        return float(matthews_corrcoef(*zip(*(rows[place][:2] for place in kept), strict=True)))

    found = jackknife(phi, groups)
    assert np.mean(found.values) == pytest.approx(phi(range(len(rows))))
    without = np.array([phi([i for i, other in enumerate(groups) if other != group]) for group in set(groups)])
    variance = (len(without) - 1) / len(without) * ((without - without.mean()) ** 2).sum()
    sums = np.array(
        [sum(v - np.mean(found.values) for v, g in zip(found.values, groups, strict=True) if g == group) for group in set(groups)]
    )
    clustered = len(sums) / (len(sums) - 1) * (sums**2).sum() / len(rows) ** 2
    assert clustered == pytest.approx(variance, abs=1e-12)


def test_many_groups_make_the_same_blocks_in_any_order() -> None:
    groups = [f"g{i % 250}" for i in range(750)]
    scores = np.arange(750.0)
    forward = jackknife(lambda kept: float(scores[list(kept)].mean()), groups)
    assert len(set(forward.blocks)) == 100
    assert np.mean(forward.values) == pytest.approx(scores.mean())
    backward = jackknife(lambda kept: float(scores[::-1][list(kept)].mean()), groups[::-1])
    assert backward.blocks[::-1] == forward.blocks
