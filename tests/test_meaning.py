"""What of a Python file counts for an identity, and what does not."""

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.hosting import identity
from workbench.hosting.host import registry
from workbench.lib import meaning

MODULE = """
from __future__ import annotations
from dataclasses import dataclass
from typing import TYPE_CHECKING
from workbench.lib import commit

if TYPE_CHECKING:
    from workbench.run import Run

@dataclass(frozen=True)
class Settings:
    rate: float = 0.1
    steps: int = 10

    @property
    def total(self) -> float:
        return self.rate * self.steps

def save(run: Run, text: str, *rest: int, at: str = "a", **names: str) -> None:
    length: int = len(text)
    commit.write_text(run.scratch / at, text * length)
"""


def digest(folder: Path, source: str) -> str:
    file = folder / f"module{len(list(folder.iterdir()))}.py"
    file.write_text(source)
    return meaning.read(file).digest


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("    from workbench.run import Run", "    from workbench.stage import Run"),
        ("if TYPE_CHECKING:\n    from workbench.run import Run\n", ""),
        ("run: Run", "run: object"),
        ("*rest: int", "*rest: float"),
        ("**names: str", "**names: object"),
        ("-> None", "-> object"),
        ("def total(self) -> float", "def total(self) -> int"),
        ("length: int = len", "length: float = len"),
        ("from workbench.lib import commit", "from workbench.lib.files import commit"),
    ],
)
def test_what_does_not_run_does_not_count(tmp_path: Path, before: str, after: str) -> None:
    assert before in MODULE
    assert digest(tmp_path, MODULE.replace(before, after)) == digest(tmp_path, MODULE)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("rate: float = 0.1", "rate: float = 0.2"),
        ("rate: float", "rate: int"),
        ("frozen=True", "frozen=False"),
        ('at: str = "a"', 'at: str = "b"'),
        ("text * length", "text"),
        ("from typing import", "from typing_extensions import"),
    ],
)
def test_what_runs_counts(tmp_path: Path, before: str, after: str) -> None:
    assert before in MODULE
    assert digest(tmp_path, MODULE.replace(before, after)) != digest(tmp_path, MODULE)


def test_an_annotation_counts_wherever_it_stands_in_a_class_body(tmp_path: Path) -> None:
    source = "class Settings:\n    if True:\n        steps: int = 3\n    def total(self) -> int:\n        rest: int = 1\n"
    assert digest(tmp_path, source) != digest(tmp_path, source.replace("steps: int", "steps: float"))
    assert digest(tmp_path, source) == digest(tmp_path, source.replace("rest: int", "rest: float"))


def test_a_decorator_that_may_read_annotations_makes_them_count(tmp_path: Path) -> None:
    source = "from functools import wraps\n@wraps(print)\ndef show(value: int) -> str: return str(value)\n"
    assert digest(tmp_path, source) != digest(tmp_path, source.replace("value: int", "value: float"))
    plain = source.replace("@wraps(print)\n", "")
    assert digest(tmp_path, plain) == digest(tmp_path, plain.replace("value: int", "value: float"))


@pytest.mark.parametrize(
    "source",
    [
        "from typing import get_type_hints\ndef size(value: int): pass\nprint(get_type_hints(size))\n",
        "import inspect\nclass A:\n    def size(self, value: int): pass\nprint(inspect.signature(A.size))\n",
        "from functools import singledispatch\nshow = singledispatch(print)\ndef one(value: int): pass\nshow.register(one)\n",
        "def size(value: int): pass\nprint(size.__annotations__)\n",
        "from tool import exported\n@exported\nclass A:\n    def size(self, value: int): pass\n",
    ],
)
def test_annotations_count_where_something_may_read_them(tmp_path: Path, source: str) -> None:
    assert digest(tmp_path, source) != digest(tmp_path, source.replace("value: int", "value: float"))


def test_docstrings_count_in_a_module_that_reads_them(tmp_path: Path) -> None:
    source = 'def prompt():\n    """Say yes."""\nprint(prompt.__doc__)\n'
    assert digest(tmp_path, source) != digest(tmp_path, source.replace("yes", "no"))
    unread = source.replace(".__doc__", "")
    assert digest(tmp_path, unread) == digest(tmp_path, unread.replace("yes", "no"))


@given(st.sampled_from(sorted(Path(meaning.__file__).parents[1].rglob("*.py"))))
def test_a_file_of_ours_means_the_same_without_its_layout(tmp_path_factory: pytest.TempPathFactory, file: Path) -> None:
    again = tmp_path_factory.mktemp("again") / "again.py"
    again.write_text(ast.unparse(ast.parse(file.read_text(encoding="utf-8"))))
    assert meaning.read(again) == meaning.read(file)


def test_no_private_module_counts_for_any_plugin(checkout: Path) -> None:
    for entry in registry(checkout).installed:
        counted = identity._core_modules(entry)
        assert "workbench.plugin" in counted
        assert not [module for module in counted if meaning.is_private(module)]
        assert not {"workbench.errors", "workbench.estimate", "workbench.models.cost"} & set(counted)
