"""Time and memory, learnt from past runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.answers import PastRun
from workbench.planning.calibration import peak_memory, seconds

AMOUNTS = st.floats(1, 1e12)
TIMES = st.floats(0.01, 1e5)


def test_without_runs_nothing_is_known() -> None:
    assert seconds(1, []) is None
    assert peak_memory(5e6, []) == 5e6


def test_one_run_keeps_its_startup_and_scales_the_rest() -> None:
    past = [PastRun(seconds=12, work=100, unit="tokens", startup=2)]
    assert seconds(100, past) == pytest.approx(12)
    assert seconds(300, past) == pytest.approx(2 + 3 * 10)


def test_one_slow_run_among_equals_changes_little() -> None:
    past = [PastRun(taken, 100, "tokens") for taken in (10, 11, 100)]
    assert seconds(100, past) == pytest.approx(11)


@given(
    startup=TIMES,
    rate=st.floats(1e-3, 1e3),
    amounts=st.lists(st.floats(1, 1e4), min_size=2, max_size=9),
    wanted=st.floats(1, 1e4),
)
def test_runs_of_several_sizes_give_startup_and_rate(startup: float, rate: float, amounts: list[float], wanted: float) -> None:
    amounts = [*amounts, 10 * max(amounts)]
    past = [PastRun(startup + amount * rate, amount, "tokens") for amount in amounts]
    assert seconds(wanted, past) == pytest.approx(startup + wanted * rate, rel=1e-3)


@given(past=st.lists(st.tuples(TIMES, AMOUNTS, TIMES), min_size=1, max_size=9), work=AMOUNTS)
def test_time_is_never_negative_and_grows_with_the_work(past: list[tuple[float, float, float]], work: float) -> None:
    runs = [PastRun(taken, amount, "tokens", startup=min(startup, taken)) for taken, amount, startup in past]
    less, more = seconds(work, runs), seconds(2 * work, runs)
    assert less is not None
    assert more is not None
    assert 0 <= less <= more


def test_work_that_is_not_estimated_takes_as_long_as_before() -> None:
    assert seconds(0, [PastRun(taken, 0, "bytes") for taken in (3, 4, 5)]) == 4


def test_memory_adds_what_past_runs_used_beyond_their_estimate() -> None:
    past = [PastRun(1, 1, "tokens", memory=100, peak_memory=700)]
    assert peak_memory(300, past) == 900
    assert peak_memory(0, past) == 0  # nothing to compare with
    assert peak_memory(0, [PastRun(1, 1, "bytes", peak_memory=700)]) == 700
    assert peak_memory(300, [PastRun(1, 1, "tokens", memory=900, peak_memory=700)]) == 300
