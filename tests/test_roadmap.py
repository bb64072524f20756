"""The roadmap's pages are in step with their table, and what a row names exists: its plugins, its commands, its test."""

from __future__ import annotations

import ast
import runpy
import shlex
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import plugin_project
import pytest
import workspace
from workspace import PROJECT, Workspace

PAGE = runpy.run_path(str(PROJECT / "docs" / "roadmap.py"))
ROWS = [row for section in PAGE["read"]() for row in section.rows]
TURNED_ON = [row for row in ROWS if row.status in ("works", "part")]


def commands(*beginning: str) -> list[Any]:
    """A parameter for each row with such commands: the words of each."""
    found = [(row.row, [shlex.split(line) for line in row.how]) for row in ROWS]
    kept = [(name, [words for words in lines if tuple(words[: len(beginning)]) == beginning]) for name, lines in found]
    return [pytest.param(lines, id=name) for name, lines in kept if lines]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The project as it is shipped, with every plugin that a row installs."""
    site = tmp_path_factory.mktemp("site")
    for folder in sorted({folder for row in ROWS for folder in installed(row.how) if (PROJECT / folder).is_dir()}):
        plugin_project.install_folder(site, PROJECT / folder)
    made = workspace.create(tmp_path_factory.mktemp("roadmap") / "project")
    (made.root / "tasks").mkdir()
    return replace(made, variables={**made.variables, "PYTHONPATH": str(site)})


def installed(how: tuple[str, ...]) -> Iterator[str]:
    for line in how:
        words = shlex.split(line)
        if words[:2] == ["pip", "install"]:
            yield from (word for before, word in pairwise(words) if before == "-e")


@pytest.mark.parametrize("language", ["en", "es"])
def test_the_pages_are_in_step_with_the_table(language: str) -> None:
    made = PAGE["render"](PAGE["read"](), language)
    assert PAGE["PAGES"][language].read_text(encoding="utf-8") == made, "run `make docs`"


def test_every_row_has_a_number_of_its_own_and_a_status_that_is_known() -> None:
    assert len({row.row for row in ROWS}) == len(ROWS)
    assert {row.status for row in ROWS} <= set(PAGE["STATUSES"])
    for row in ROWS:
        assert set(row.topic) == {"en", "es"}, row.row
        assert bool(row.answer) == bool(row.test), row.row
        assert bool(row.how) == (row.status in ("works", "part")), row.row
        assert (row.status in ("part", "outside")) == bool(row.lacks), row.row


@pytest.mark.parametrize("row", [pytest.param(row, id=row.row) for row in TURNED_ON if row.test])
def test_the_test_of_a_row_is_there(row: Any) -> None:
    file, _, function = row.test.partition("::")
    tree = ast.parse((PROJECT / file).read_text(encoding="utf-8"))
    assert function in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("lines", commands("workbench", "use"))
def test_what_turns_a_row_on_passes_the_check(project: Workspace, tmp_path: Path, lines: list[list[str]]) -> None:
    for name in ("params.yaml", "compute.yaml"):
        (project.root / name).write_bytes((PROJECT / name).read_bytes())
    (tmp_path / "train.jsonl").write_text('{"text": "A text of one\'s own."}\n')
    (project.root / "tasks" / "mine.yaml").write_text(TASK.format(data=tmp_path / "train.jsonl"))
    for words in lines:
        done = project.run(*(word.replace("/data/my-dataset", str(tmp_path)) for word in words[1:]))
        assert done.code == 0, done.text
    assert project.run("check").code == 0


TASK = """\
task: mine
dataset_path: json
dataset_kwargs: {{data_files: {data}}}
output_type: generate_until
test_split: train
doc_to_text: '{{{{text}}}}'
doc_to_target: '{{{{text}}}}'
metric_list: [{{metric: exact_match}}]
"""


def test_every_folder_that_a_row_installs_is_a_plugin_or_written_by_its_command() -> None:
    for row in ROWS:
        written = {
            f"plugins/{words[2]}-{words[3]}" for words in map(shlex.split, row.how) if words[:2] == ["workbench", "new-plugin"]
        }
        for folder in installed(row.how):
            assert folder in written or (PROJECT / folder / "pyproject.toml").is_file(), row.row
