"""YAML is read as DVC writes it, and as it reads it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import dumps_yaml, loads_yaml
from hypothesis import given
from hypothesis import strategies as st

from workbench.artifacts import dvc_lock, yaml_1_2
from workbench.project import params

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12)
words = st.sampled_from(
    [
        "no",
        "yes",
        "on",
        "off",
        "y",
        "12:30:00",
        "1:20",
        "1e5",
        "1_000",
        "017",
        "0x1F",
        "2020-01-01",
        "=",
        "<<",
        "~",
        "null",
        ".5",
        "1.",
        ".inf",
    ]
)


@given(st.lists(scalars | words) | st.dictionaries(st.text(min_size=1, max_size=8) | words, scalars | words, max_size=4))
def test_values_are_those_that_dvc_wrote(value: Any) -> None:
    text = dumps_yaml({"schema": "2.0", "stages": {"first": {"value": value}}})
    assert dvc_lock.parse(text) == {"first": {"value": value}}


@pytest.mark.parametrize("value", ["no", "12:30:00", "1e5", 1e-05, 1e16, math.inf, 10**20, -3, 0.1, True, None, "null", ""])
def test_a_value_keeps_its_type(value: object) -> None:
    found = dvc_lock.parse(dumps_yaml({"stages": {"first": {"value": value}}}))["first"]["value"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "text", ["no", "on", "True", "FALSE", "~", "", "1e-5", "1.", "-0.5e3", "7", "-7", "12:30", ".inf", "'7'"]
)
def test_what_people_write_is_read_as_dvc_reads_it(text: str) -> None:
    assert yaml_1_2.load(f"a: {text}") == loads_yaml(f"a: {text}")


def test_params_have_texts_numbers_and_anchors(tmp_path: Path) -> None:
    section = "report: &report {use: card, with: {language: no, rate: 1e-5}}\nalign: {<<: *report, data: x}\n"
    (tmp_path / "params.yaml").write_text(section)
    content = params.load(tmp_path)
    assert content["report"]["with"] == {"language": "no", "rate": 1e-5}
    assert content["align"] == {"use": "card", "with": content["report"]["with"], "data": "x"}
