"""Intervals against known answers."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.models.statistics import clustered_mean, paired_difference, wilson


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
    assert result.minimum_detectable_effect == pytest.approx(2.8016 * result.standard_error, rel=1e-4)


def test_copies_within_groups_add_no_certainty() -> None:
    scores, groups = [0.0, 1.0, 1.0, 0.0, 1.0, 1.0], list("abcdef")
    once = clustered_mean(scores, groups)
    copied = clustered_mean(scores * 10, groups * 10)
    assert copied.standard_error == pytest.approx(once.standard_error)
    assert (copied.low, copied.high) == (once.low, once.high)
    assert (copied.examples, copied.groups) == (60, 6)


def test_weights_give_the_ratio_of_sums() -> None:
    result = clustered_mean([2.0, 1.0, 3.0] * 2, list("abcdef"), weights=[10, 30, 60] * 2)
    assert result.estimate == pytest.approx((20 + 30 + 180) / 100)
    residuals = np.array([(2 - 2.3) * 10, (1 - 2.3) * 30, (3 - 2.3) * 60] * 2)
    assert result.standard_error == pytest.approx(math.sqrt(6 / 5 * (residuals**2).sum()) / 200)


def test_a_constant_difference_is_certain() -> None:
    result = paired_difference([0.1, 0.5, 0.9] * 2, [0.2, 0.6, 1.0] * 2, list("abcdef"))
    assert (result.low, result.high) == pytest.approx((0.1, 0.1))
    assert result.excludes_zero


def test_the_seed_fixes_the_interval() -> None:
    scores, groups = [float(i % 7) for i in range(60)], [str(i % 20) for i in range(60)]
    assert clustered_mean(scores, groups, seed=1) == clustered_mean(scores, groups, seed=1)
    assert clustered_mean(scores, groups, seed=1) != clustered_mean(scores, groups, seed=2)


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


@pytest.mark.parametrize("number_of_groups", [6, 8, 40])
def test_intervals_cover_the_truth(number_of_groups: int) -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        effects = generator.normal(0, 1, number_of_groups)
        scores = [float(effects[group] + generator.normal(0, 0.5)) for group in range(number_of_groups) for _ in range(4)]
        groups = [str(group) for group in range(number_of_groups) for _ in range(4)]
        result = clustered_mean(scores, groups, seed=trial)
        covered += result.low <= 0 <= result.high
    assert 0.90 <= covered / 200 <= 0.99
