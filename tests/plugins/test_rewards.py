"""Rewards `exact-answer` and `format`: what they accept, what they refuse, and that no text makes them stumble."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from workbench_reward_exact_answer import ExactAnswer, ExactAnswerConfig
from workbench_reward_format import Format, FormatConfig
from workbench_source_arithmetic import Arithmetic, ArithmeticConfig

from workbench.run import Compute, Run


def exact(completion: str, answer: str, **settings: Any) -> float:
    return ExactAnswer(ExactAnswerConfig(**settings)).score(completion, answer)


def shape(completion: str, **settings: Any) -> float:
    return Format(FormatConfig(**settings)).score(completion, "unused")


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        (" 42\n", "42"),
        ("42.", "42"),
        ("+42", "42"),
        ("042", "42"),
        ("42.0", "42"),
        ("1,234,567", "1234567"),
        ("−7", "-7"),
        ("cafe\u0301", "caf\u00e9"),
        ("1/2", "0.5"),
        ("-0", "0"),
        ("Paris.", "paris"),
        ("the  Eiffel\ttower", "The Eiffel Tower"),
        ("1/0", "1/0"),
    ],
)
def test_what_says_the_same_is_right(completion: str, answer: str) -> None:
    assert exact(completion, answer) == 1.0
    assert exact(answer, completion) == 1.0


@pytest.mark.parametrize(
    ("completion", "answer"),
    [("", "42"), ("4 2", "42"), ("420", "42"), ("42 or 43", "42"), ("1,23", "123"), ("-42", "42"), ("4²", "42"), ("1e2", "100")],
)
def test_what_says_something_else_is_wrong(completion: str, answer: str) -> None:
    assert exact(completion, answer) == 0.0


@given(st.fractions(max_denominator=10**6), st.fractions(max_denominator=10**6))
def test_numbers_agree_if_their_values_do(left: Fraction, right: Fraction) -> None:
    assert exact(str(left), str(right)) == float(left == right)


@given(st.integers(-(10**30), 10**30))
def test_digits_may_be_grouped(number: int) -> None:
    assert exact(f"{number:,}", str(number)) == 1.0
    assert exact(f"{number:,}", str(number + 1)) == 0.0


@given(st.text(), st.text(), st.sampled_from(["whole", "last-number", "after-marker"]))
def test_every_text_has_a_score(completion: str, answer: str, part: str) -> None:
    assert exact(completion, answer, part=part) in {0.0, 1.0}


def test_a_flood_of_digits_is_only_text() -> None:
    assert exact("1" * 1_000_000, "1") == 0.0
    assert exact("1" * 10_000, "1" * 10_000) == 1.0


@pytest.mark.parametrize(
    ("completion", "part", "reward"),
    [
        ("12 + 30 = 42", "last-number", 1.0),
        ("42 = 12 + 30", "last-number", 0.0),
        ("no idea", "last-number", 0.0),
        ("First 12.\n#### 42", "after-marker", 1.0),
        ("#### 41 #### 42", "after-marker", 1.0),
        ("42", "after-marker", 0.0),
        ("12 + 30 = 42", "whole", 0.0),
    ],
)
def test_the_answer_may_be_a_part_of_the_text(completion: str, part: str, reward: float) -> None:
    assert exact(completion, "42", part=part) == reward


def test_it_is_the_verifier_that_arithmetic_problems_name() -> None:
    source = Arithmetic(ArithmeticConfig(operations=("divide", "subtract"), train=40, heldout=10))
    run = Run("test", 0, Compute("cpu", 1, "fp32"), Path(), Path(), None)  # type: ignore[arg-type]
    for problem in source.records(run):
        assert problem.verifier == ExactAnswer.name
        assert exact(problem.answer, problem.answer) == 1.0
        assert exact(f"{problem.answer}1", problem.answer) == 0.0


def test_a_pattern_must_match_the_whole_text() -> None:
    assert shape("-42", pattern=r"-?\d+") == 1.0
    assert shape("-42!", pattern=r"-?\d+") == 0.0
    assert shape("<think>a\nb</think>42", pattern=r"<think>.*</think>\d+") == 1.0


def test_length_is_bounded_at_both_ends() -> None:
    assert [shape("x" * length, min_characters=2, max_characters=4) for length in range(1, 6)] == [0.0, 1.0, 1.0, 1.0, 0.0]


def test_a_wrong_shape_may_cost_something() -> None:
    assert shape("", right=0.5, wrong=-1.0) == -1.0
    assert shape("yes", right=0.5, wrong=-1.0) == 0.5


def test_a_text_that_is_too_long_is_never_matched() -> None:
    assert shape("a" * 5_000 + "b", pattern=r"(a+)+", max_characters=100) == 0.0


@pytest.mark.parametrize("settings", [{"pattern": "("}, {"min_characters": 5, "max_characters": 4}, {"right": float("nan")}])
def test_a_bad_configuration_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FormatConfig(**settings)
