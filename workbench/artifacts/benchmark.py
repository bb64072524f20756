"""Benchmark: a task folder that the LM Evaluation Harness can load, with its multiple-choice questions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.artifacts import table
from workbench.artifacts.table import Columns
from workbench.errors import ArtifactError

COLUMNS: Columns = {
    "id": "string",
    "question": "string",
    "choices": ["string"],
    "answer": "int64",
    "document": "string",
    "group": "string",
}
TASK_FILE = "task.yaml"
DATA_FILE = "test-00000.parquet"
NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
TASK_KEYS = frozenset(
    [
        "task",
        "task_alias",
        "dataset_path",
        "dataset_name",
        "dataset_kwargs",
        "training_split",
        "validation_split",
        "test_split",
        "fewshot_split",
        "doc_to_text",
        "doc_to_choice",
        "doc_to_target",
        "description",
        "target_delimiter",
        "fewshot_delimiter",
        "gen_prefix",
        "output_type",
        "metric_list",
        "generation_kwargs",
        "repeats",
        "filter_list",
        "num_fewshot",
        "fewshot_config",
        "should_decontaminate",
        "doc_to_decontamination_query",
        "metadata",
    ]
)
"""Keys a task description may use: the harness's, except those that load code, other files or other tasks."""


@dataclass(frozen=True)
class Question:
    """A multiple-choice question about one document."""

    question: str
    choices: tuple[str, ...]
    answer: int
    """Index of the right choice."""
    document: str
    """Id of the corpus document that answers it; `dedup` holds that document out of training."""
    group: str
    """Questions of one group are not independent; statistics cluster by it."""

    def record(self) -> dict[str, Any]:
        """The row without its id."""
        return {
            "question": self.question,
            "choices": list(self.choices),
            "answer": self.answer,
            "document": self.document,
            "group": self.group,
        }


def write(directory: Path, questions: Iterable[Question], task: str) -> int:
    """Write the questions and the harness's task description; returns the number of questions.

    The task's data path is relative, so that the folder can be moved; the loader sets the path.
    """
    import yaml

    rows = ({"id": table.content_id(question.record()), **question.record()} for question in questions)
    number = table.write_rows(directory, rows, COLUMNS, prefix="test")
    content = {
        "task": task,
        "dataset_path": "parquet",
        "dataset_kwargs": {"data_files": {"test": DATA_FILE}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "answer",
        "target_delimiter": " ",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_mutual_info"}],
        "metadata": {"version": 1.0},
    }
    (directory / TASK_FILE).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return number


def read(directory: Path) -> Iterator[dict[str, Any]]:
    """Stream the questions."""
    return table.read_rows(directory, prefix="test")


def description(directory: Path) -> dict[str, Any]:
    """The harness's task description, of plain values.

    Raises:
        ArtifactError: it is missing or not YAML, has a tag such as ``!function``, which runs code, or an unknown key or bad name.
    """
    import yaml

    file = directory / TASK_FILE
    if not file.is_file():
        raise ArtifactError(f"{TASK_FILE} is missing", str(directory), "write the harness's task description beside the data")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        fix = "write plain values; a tag such as !function would run code"
        raise ArtifactError(f"not plain YAML: {error}", str(file), fix) from error
    if not isinstance(content, dict):
        raise ArtifactError("it holds no keys", str(file), "write the harness's task description")
    for key in content:
        if key not in TASK_KEYS:
            raise ArtifactError(f"key {key!r} is not allowed", str(file), f"the keys are: {', '.join(sorted(TASK_KEYS))}")
    name = content.get("task")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ArtifactError(f"task is {name!r}", str(file), "name it with letters, digits, -, _ and .")
    return content


def validate(directory: Path) -> None:
    """Check the task file, the columns, and that every answer is among its choices.

    Raises:
        ArtifactError: says the row and the fix.
    """
    description(directory)
    table.require_columns(directory, COLUMNS, prefix="test")
    table.require_unique(directory, prefix="test")
    for number, row in enumerate(read(directory)):
        if not 0 <= row["answer"] < len(row["choices"]):
            raise ArtifactError(
                f"answer {row['answer']} is not an index into {len(row['choices'])} choices",
                f"{directory}, row {number}",
                "fix the row",
            )
        if len(set(row["choices"])) != len(row["choices"]):
            raise ArtifactError("two choices are the same", f"{directory}, row {number}", "make the choices differ")
