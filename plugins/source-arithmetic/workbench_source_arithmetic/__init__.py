"""Verifiable arithmetic problems, generated from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from workbench import hookimpl
from workbench.artifacts.examples import Problem, Split
from workbench.estimate import Estimate
from workbench.kinds.source import Source
from workbench.plugin import Config, Plugin
from workbench.run import Run

__all__ = ["Arithmetic", "ArithmeticConfig", "workbench_plugins"]

Operation = Literal["add", "subtract", "multiply", "divide"]
SYMBOLS: dict[Operation, str] = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}
VERIFIER = "exact-answer"
Task = tuple[Operation, int, int]


class ArithmeticConfig(Config):
    """Which problems, and how many."""

    operations: tuple[Operation, ...] = Field(("add", "subtract", "multiply"), min_length=1)
    """Operations, equally often; ``divide`` gives problems without remainder."""
    digits_min: int = Field(1, ge=1, le=18)
    """Fewest digits of an operand; of divisor and quotient for ``divide``."""
    digits_max: int = Field(2, ge=1, le=18)
    """Most digits of an operand; every number of digits in the range is equally likely."""
    train: int = Field(4_000, ge=1)
    """Problems for training."""
    heldout: int = Field(500, ge=0)
    """Problems held out; none of them is in training."""
    template: str = "What is {problem}?"
    """The prompt; ``{problem}`` stands for the expression."""

    @field_validator("operations")
    @classmethod
    def _once(cls, operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
        if len(set(operations)) < len(operations):
            raise ValueError("an operation is listed twice")
        return operations

    @field_validator("template")
    @classmethod
    def _has_place(cls, template: str) -> str:
        if template.count("{problem}") != 1:
            raise ValueError("write {problem} once, where the expression belongs")
        return template

    @model_validator(mode="after")
    def _enough(self) -> ArithmeticConfig:
        if self.digits_min > self.digits_max:
            raise ValueError(f"digits_min ({self.digits_min}) is greater than digits_max ({self.digits_max})")
        wanted, possible = self.train + self.heldout, len(self.operations) * self.pairs
        if wanted * 4 > possible:
            limit = f"{possible // 4}, a quarter of all there are"
            raise ValueError(f"{wanted} different problems are wanted, and the limit is {limit}: raise digits_max")
        return self

    @property
    def pairs(self) -> int:
        """Number of operand pairs of one operation."""
        operands: int = 10**self.digits_max - 10 ** (self.digits_min - 1)
        return operands**2


class Arithmetic(Source[ArithmeticConfig]):
    """Arithmetic problems with exact answers, in the manner of Brown et al. (2020), section 3.9.1, arXiv:2005.14165."""

    name: ClassVar[str] = "arithmetic"
    Config = ArithmeticConfig
    produces = "problems"

    def estimate(self, inputs: Mapping[str, Path]) -> Estimate:
        """The problems."""
        return Estimate(self.config.train + self.config.heldout, "problems")

    def records(self, run: Run) -> Iterator[Problem]:
        """Different problems, ``a + b`` and ``b + a`` counted as one; the first ones drawn are held out, however many follow."""
        seen: set[Task] = set()
        drawing = random.Random(run.seed)
        for number in range(self.config.heldout + self.config.train):
            task = self._draw(number, drawing)
            while _same(task) in seen:
                task = self._draw(number, drawing)
            seen.add(_same(task))
            yield self._problem(task, "heldout" if number < self.config.heldout else "train")

    def _draw(self, number: int, drawing: random.Random) -> Task:
        operation = self.config.operations[number % len(self.config.operations)]
        left, right = self._operand(drawing), self._operand(drawing)
        return operation, left, right

    def _operand(self, drawing: random.Random) -> int:
        digits = drawing.randint(self.config.digits_min, self.config.digits_max)
        return drawing.randint(10 ** (digits - 1), 10**digits - 1)

    def _problem(self, task: Task, split: Split) -> Problem:
        operation, left, right = task
        expression, answer = _evaluate(operation, left, right)
        prompt = self.config.template.replace("{problem}", expression)
        return Problem(({"role": "user", "content": prompt},), str(answer), VERIFIER, split)


def _same(task: Task) -> Task:
    """One representative of the problems that a commutation makes of each other."""
    operation, left, right = task
    return (operation, min(left, right), max(left, right)) if operation in {"add", "multiply"} else task


def _evaluate(operation: Operation, left: int, right: int) -> tuple[str, int]:
    """The expression and its value. Division is drawn as divisor and quotient, so that nothing remains."""
    if operation == "divide":
        return f"{left * right} / {left}", right
    values = {"add": left + right, "subtract": left - right, "multiply": left * right}
    return f"{left} {SYMBOLS[operation]} {right}", values[operation]


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """The one source."""
    return [Arithmetic]
