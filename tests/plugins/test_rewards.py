"""Rewards `exact-answer` and `format`: what they accept, what they refuse, and that no text makes them stumble."""

from __future__ import annotations

import random
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

from workbench.errors import ArtifactError, ParamsError, PluginError
from workbench.kinds.reward import Reward, require_right_answers, score
from workbench.run import Compute, Run


def exact(completion: str, answer: str, **settings: Any) -> float:
    return ExactAnswer(ExactAnswerConfig(**settings)).score(completion, answer)


def shape(completion: str, **settings: Any) -> float:
    return Format(FormatConfig(**settings)).score(completion, "unused")


SAME = [
    (" 42\n", "42"),
    ("42.", "42"),
    ("+42", "42"),
    ("042", "42"),
    ("42.0", "42"),
    ("1,234,567", "1234567"),
    ("1,234,567.80", "1234567.8"),
    ("9{,}500", "9500"),
    ("$9{,}500$", "9,500"),
    ("5 000", "5000"),
    ("5\u00a0000", "5000"),
    ("5\u202f000,5", "5000.5"),
    ("1'000'000", "1000000"),
    ("1_000", "1000"),
    ("1.000.000", "1000000"),
    ("1.234,5", "1234.5"),
    ("12,34,567", "1234567"),
    (".5", "0.5"),
    ("-.5", "-1/2"),
    ("5.", "5"),
    ("12,5", "12.5"),
    ("0,125", "1/8"),
    ("1e3", "1000"),
    ("1.5E-3", "0.0015"),
    ("1,5e2", "150"),
    ("3 × 10^8", "300000000"),
    (r"3 \times 10^{8}", "300,000,000"),
    ("2·10⁻³", "0.002"),
    ("$18", "18"),
    ("-$5", "-5"),
    ("$-5", "-5"),
    (r"\$18.50", "18.5"),
    ("18 €", "€18"),
    ("18 dollars", "$18"),
    ("18 apples", "18"),
    ("18 apple", "18 apples"),
    ("18km", "18 km"),
    ("120 km/h", "120"),
    ("5 m²", "5"),
    ("50%", "50"),
    (r"50\%", "50 percent"),
    ("90°", "90"),
    ("5~km", "5"),
    (r"90^\circ", "90"),
    ("18个", "18"),
    ("2 million", "2,000,000"),
    ("1.5 thousand dollars", "1500"),
    ("2 dozen", "24"),
    ("2 mil", "2000"),
    ("**18**", "18"),
    ("*18*", "18"),
    ("`18`", "18"),
    ("“18”", "18"),
    ("(18)", "18"),
    ("= 18", "18"),
    (r"\boxed{18}", "18"),
    (r"$\boxed{\text{Paris}}$", "paris"),
    (r"\(18\)", "18"),
    (r"\frac{1}{2}", "0.5"),
    (r"-\dfrac12", "-1/2"),
    (r"2\frac{1}{2}", "2.5"),
    ("1/2", "0.5"),
    ("2 1/2", "2.5"),
    ("1½", "1.5"),
    ("4.5/5", "0.9"),
    ("1,000/4", "250"),
    ("−7", "-7"),
    ("–7", "-7"),
    ("-0", "0"),
    ("٤٢", "42"),
    ("٣٫١٤", "3.14"),
    ("४२", "42"),
    ("４２", "42"),
    ("10–13", "10-13"),
    ("2024-05-01", "2024-05-01"),
    ("1/5/2024", "1/5/2024"),
    ("10:30", "10:30"),
    ("1/0", "1/0"),
    ("cafe\u0301", "caf\u00e9"),
    ("Paris.", "paris"),
    ("北京。", "北京"),
    ("the  Eiffel\ttower", "The Eiffel Tower"),
]


@pytest.mark.parametrize(("completion", "answer"), SAME)
def test_what_says_the_same_is_right(completion: str, answer: str) -> None:
    assert exact(completion, answer) == 1.0
    assert exact(answer, completion) == 1.0


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("", "42"),
        ("4 2", "42"),
        ("420", "42"),
        ("42 or 43", "42"),
        ("42 or", "42"),
        ("1,23", "123"),
        ("1,000", "1"),
        ("1,0000", "10000"),
        ("-42", "42"),
        ("4²", "42"),
        ("4x", "4"),
        ("2pi", "2"),
        ("2 squared", "2"),
        ("2 million", "2"),
        ("2万", "2"),
        ("4 river river", "4"),
        ("18 km", "18 m"),
        ("€18", "$18"),
        ("$5 €", "5"),
        ("50%", "0.5"),
        ("10-5", "5"),
        ("10-5", "-5"),
        ("10–13", "-3"),
        ("2024-05-01", "2018"),
        ("1/5/2024", "0.2"),
        ("10:30", "1030"),
        ("--5", "-5"),
        ("1e", "1"),
        ("1e9999", "1"),
        ("0.333", "1/3"),
        ("~5", "5"),
        ("Paris, France", "Paris"),
    ],
)
def test_what_says_something_else_is_wrong(completion: str, answer: str) -> None:
    assert exact(completion, answer) == 0.0
    assert exact(answer, completion) == 0.0


@given(st.fractions(max_denominator=10**6), st.fractions(max_denominator=10**6))
def test_numbers_agree_if_their_values_do(left: Fraction, right: Fraction) -> None:
    assert exact(str(left), str(right)) == float(left == right)


@given(st.integers(-(10**30), 10**30))
def test_digits_may_be_grouped(number: int) -> None:
    assert exact(f"{number:,}", str(number)) == 1.0
    assert exact(f"{number:,}", str(number + 1)) == 0.0


PIECES = [
    *"0123456789" * 2,
    *".,-+/ $%e×*^{}()\\'\"`_:#~=°²½٤４€–−xm\n\0\ud800",
]
PIECES += [
    "\\frac{",
    "\\boxed{",
    "{,}",
    "####",
    "1,000",
    " million",
    " or ",
    "10^",
    "10⁻",
    "×10",
    "e999",
    "/0",
    "**",
    "km",
    "万",
    "4.5/5",
    "2024-",
]
written = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
VERIFIERS = [
    *(ExactAnswer(ExactAnswerConfig(part=part)) for part in ("whole", "last-number", "after-marker")),  # type: ignore[arg-type]
    Format(FormatConfig(pattern=r"-?\d+(\.\d+)?")),
]


@given(st.text() | written, st.text() | written, st.sampled_from(VERIFIERS))
def test_every_text_has_a_score(completion: str, answer: str, verifier: Reward[Any]) -> None:
    assert score(verifier, completion, answer) in {0.0, 1.0}


@given(st.text() | written)
def test_every_text_is_right_for_itself(answer: str) -> None:
    assert exact(answer, answer) == 1.0


@pytest.mark.parametrize("number", [10_000, pytest.param(400_000, marks=pytest.mark.slow)])
def test_no_random_text_makes_a_verifier_stumble(number: int) -> None:
    drawing = random.Random(0)
    for _ in range(number):
        completion, answer = ("".join(drawing.choices(PIECES, k=drawing.randint(0, 12))) for _ in range(2))
        for verifier in VERIFIERS:
            assert score(verifier, completion, answer) in {0.0, 1.0}


class Broken(ExactAnswer):
    """A verifier that doesn't keep to the contract."""

    name = "broken"
    gives: Any = None

    def score(self, completion: str, answer: str) -> float:
        """What it was told to."""
        if isinstance(self.gives, Exception):
            raise self.gives
        return self.gives  # type: ignore[no-any-return]


@pytest.mark.parametrize("gives", [None, float("nan"), float("inf"), "1", ValueError("4.5/5")])
def test_what_is_no_finite_number_is_refused_by_name(gives: Any) -> None:
    verifier = Broken(ExactAnswerConfig())
    verifier.gives = gives
    with pytest.raises(PluginError, match=r"reward 'broken' (gave|raised)") as caught:
        score(verifier, "4.5/5", "0.9")
    assert "'4.5/5'" in str(caught.value)
    assert "Broken" in caught.value.fix


def test_problems_that_nothing_answers_rightly_are_refused() -> None:
    rows = [{"id": str(place), "answer": answer, "verifier": "exact-answer"} for place, answer in enumerate(("18", "none", "7"))]
    require_right_answers([ExactAnswer(ExactAnswerConfig())], rows, "rewards", "data")
    with pytest.raises(ArtifactError, match="gives 1 of 3 right answers another score than 1") as caught:
        require_right_answers([ExactAnswer(ExactAnswerConfig(part="last-number"))], rows, "rewards", "data")
    assert "'none'" in caught.value.what
    assert caught.value.where == "data, row 1"


def test_a_flood_of_digits_is_only_text() -> None:
    assert exact("1" * 1_000_000, "1") == 0.0
    assert exact("1" * 10_000, "1" * 10_000) == 1.0


@pytest.mark.parametrize(
    ("completion", "answer", "part", "reward"),
    [
        ("12 + 30 = 42", "42", "last-number", 1.0),
        ("42 = 12 + 30", "42", "last-number", 0.0),
        ("no idea", "42", "last-number", 0.0),
        ("That makes 10-5", "5", "last-number", 1.0),
        ("That makes 10 - 5", "5", "last-number", 1.0),
        ("from 10–13", "13", "last-number", 1.0),
        ("as for COVID-19", "19", "last-number", 1.0),
        ("x=-5", "-5", "last-number", 1.0),
        ("it is -$5.", "-5", "last-number", 1.0),
        ("He pays $1,000.", "1000", "last-number", 1.0),
        ("about 5 000 people", "5000", "last-number", 1.0),
        ("it weighs 12,5 kg", "12.5", "last-number", 1.0),
        ("some 2 million people", "2", "last-number", 0.0),
        ("some 2 million people", "2000000", "last-number", 1.0),
        ("He paid 5 on 2024-05-01.", "5", "last-number", 1.0),
        ("5 at 10:30", "5", "last-number", 1.0),
        ("the answer is **1e3**", "1000", "last-number", 1.0),
        (r"so \boxed{9{,}500}", "9500", "last-number", 1.0),
        ("答案是42。", "42", "last-number", 1.0),
        ("الجواب ٤٢", "42", "last-number", 1.0),
        ("18 apples", "She has 18 apples", "last-number", 1.0),
        ("0", "no number", "last-number", 0.0),
        ("First 12.\n#### 42", "42", "after-marker", 1.0),
        ("#### 41 #### 42", "42", "after-marker", 1.0),
        ("42", "42", "after-marker", 0.0),
        ("#### 1,000", "so\n#### 1,000", "after-marker", 1.0),
        ("#### 12\nSo she has 13 left.", "12", "after-marker", 1.0),
        ("#### 12 and that is all", "12", "after-marker", 1.0),
        ("#### **12** apples, all in all", "12", "after-marker", 1.0),
        ("#### 12. That is it", "12", "after-marker", 1.0),
        ("####\n42", "42", "after-marker", 1.0),
        ("#### 12 or 13", "12", "after-marker", 0.0),
        ("#### 12 or", "12", "after-marker", 0.0),
        ("#### 12-13", "12", "after-marker", 0.0),
        ("#### Paris", "Paris", "after-marker", 1.0),
        ("####", "42", "after-marker", 0.0),
        ("#### 6 × 7", "6 × 7\n42", "after-marker", 0.0),
        ("12 + 30 = 42", "42", "whole", 0.0),
    ],
)
def test_the_answer_may_be_a_part_of_the_text(completion: str, answer: str, part: str, reward: float) -> None:
    assert exact(completion, answer, part=part) == reward


@pytest.mark.parametrize(("one", "other"), SAME)
@pytest.mark.parametrize("part", ["whole", "after-marker"])
def test_every_right_answer_is_right_for_itself(one: str, other: str, part: str) -> None:
    verifier = ExactAnswer(ExactAnswerConfig(part=part))  # type: ignore[arg-type]
    for answer in (one, other, f"So it is.\n#### {one}"):
        assert verifier.score(verifier.right_completion(answer), answer) == 1.0


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


@pytest.mark.parametrize("marker", [" ", "a\nb"])
def test_a_marker_that_no_line_holds_is_refused(marker: str) -> None:
    with pytest.raises(ValidationError, match="blank or has several lines"):
        ExactAnswerConfig(part="after-marker", marker=marker)


def test_a_pattern_that_takes_for_ever_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench_reward_format.SECONDS", 0.2)
    with pytest.raises(ParamsError, match=r"\(a\|aa\)\+b' is not done with a text of 2000 characters"):
        score(Format(FormatConfig(pattern="(a|aa)+b")), "a" * 1_999 + "c", "unused")


@pytest.mark.parametrize("settings", [{"pattern": "("}, {"min_characters": 5, "max_characters": 4}, {"right": float("nan")}])
def test_a_bad_configuration_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FormatConfig(**settings)
