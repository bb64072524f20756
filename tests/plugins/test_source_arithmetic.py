"""Arithmetic problems: right answers, disjoint splits, determinism."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from workbench_source_arithmetic import Arithmetic, ArithmeticConfig

from workbench.artifacts import examples, formats
from workbench.artifacts.examples import Problem
from workbench.run import Compute, Run
from workbench.testing import make_run

EXPRESSION = re.compile(r"(\d+) ([-+*/]) (\d+)")
OPERATIONS = ("add", "subtract", "multiply", "divide")


def generate(config: ArithmeticConfig, seed: int) -> list[Problem]:
    run = Run("test", seed, Compute("cpu", 1, "fp32"), Path(), Path(), None)  # type: ignore[arg-type]
    return list(Arithmetic(config).records(run))


def parse(problem: Problem) -> tuple[int, str, int]:
    match = EXPRESSION.search(problem.prompt[0]["content"])
    assert match
    return int(match[1]), match[2], int(match[3])


def value(left: int, sign: str, right: int) -> Fraction:
    if sign == "/":
        return Fraction(left, right)
    return Fraction({"+": left + right, "-": left - right, "*": left * right}[sign])


@st.composite
def configs(draw: st.DrawFn) -> ArithmeticConfig:
    low = draw(st.integers(1, 6))
    return ArithmeticConfig(
        operations=tuple(draw(st.permutations(OPERATIONS))[: draw(st.integers(1, 4))]),
        digits_min=low,
        digits_max=draw(st.integers(max(low, 2), 18)),
        train=draw(st.integers(1, 60)),
        heldout=draw(st.integers(0, 40)),
    )


@settings(max_examples=60, deadline=None)
@given(configs(), st.integers(0, 2**32))
def test_answers_are_right_and_splits_disjoint(config: ArithmeticConfig, seed: int) -> None:
    problems = generate(config, seed)
    splits: dict[str, set[object]] = {"train": set(), "heldout": set()}
    for problem in problems:
        left, sign, right = parse(problem)
        assert Fraction(problem.answer) == value(left, sign, right)
        assert problem.verifier == "exact-answer"
        splits[problem.split].add((sign, frozenset((left, right))) if sign in "+*" else (sign, left, right))
    assert (len(splits["train"]), len(splits["heldout"])) == (config.train, config.heldout)
    assert not splits["train"] & splits["heldout"]


@given(st.integers(0, 1000))
def test_the_seed_decides_everything(seed: int) -> None:
    config = ArithmeticConfig(train=30, heldout=10)
    assert generate(config, seed) == generate(config, seed)
    assert generate(config, seed) != generate(config, seed + 1)


def test_operands_have_the_digits_asked_for() -> None:
    problems = generate(ArithmeticConfig(operations=("add",), digits_min=2, digits_max=3, train=200, heldout=0), 0)
    digits = {len(str(operand)) for problem in problems for operand in parse(problem)[::2]}
    assert digits == {2, 3}


def test_more_training_keeps_the_heldout_problems() -> None:
    few, many = (generate(ArithmeticConfig(train=train, heldout=20), 0) for train in (10, 500))
    assert [p for p in few if p.split == "heldout"] == [p for p in many if p.split == "heldout"]


def test_the_largest_allowed_number_ends() -> None:
    assert len(generate(ArithmeticConfig(operations=("add",), digits_max=1, train=20, heldout=0), 0)) == 20


@pytest.mark.parametrize(
    "settings",
    [
        {"operations": ()},
        {"operations": ("add", "add")},
        {"operations": ("power",)},
        {"digits_min": 3, "digits_max": 2},
        {"digits_max": 19},
        {"train": 0},
        {"digits_max": 1, "train": 10_000},
        {"template": "What?"},
        {"surprise": 1},
    ],
)
def test_bad_configs(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ArithmeticConfig(**settings)  # type: ignore[arg-type]


def test_the_artifact_is_valid(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    Arithmetic(ArithmeticConfig()).execute({}, {"out": tmp_path / "out", "decisions": tmp_path / "decisions"}, run)
    formats.BUILT_IN["problems"].validate(tmp_path / "out")
    rows = list(examples.read(tmp_path / "out", "train"))
    assert len(rows) == 4_000
    assert rows[0]["prompt"][0]["content"].startswith("What is ")
    assert run.summary["heldout_rows"] == 500
