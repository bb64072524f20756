"""YAML is read as DVC writes it, and as it reads it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from dvc.utils.serialize import dumps_yaml, loads_yaml
from hypothesis import given
from hypothesis import strategies as st

from workbench.artifacts import dvc_lock, yaml_1_2
from workbench.errors import ParamsError
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
    hypothesis.assume(loads_yaml(text)["stages"]["first"]["value"] == value)  # DVC itself loses U+0085
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


NUMBERS = r"[-+]?(0[xob]?)?[0-9_]{0,4}[.:]?[0-9_]{0,3}([eE][-+]?[0-9]{0,2})?|[-+]?\.(inf|Inf|iNF|nan|NaN)"
DATES = r"[0-9]{4}-[01]?[0-9]-[0-3]?[0-9]([Tt ][0-9]{1,2}:[0-9]{2}:[0-9]{2}(\.[0-9]{0,3})?(Z| ?[-+][0-9]{1,2}(:[0-9]{2})?)?)?"
WRITTEN = ["010", "08", "-08", "0777", "0o17", "0x1F", "0b11", "1_000", ".7E2", "1.e5", "+.inf", "2024-01-31", "=", "0_1", "+_"]


def outcome(read: Callable[[str], Any], text: str) -> object:
    """The value with its type; None where it is refused. NaN equals itself."""
    try:
        value = read(f"a: {text}")["a"]
    except Exception:  # noqa: BLE001 - DVC's reader raises errors of all kinds
        return None
    return (repr(value), type(value)) if isinstance(value, float) else (value, type(value))


@hypothesis.settings(max_examples=1000)
@given(
    st.from_regex(NUMBERS, fullmatch=True)
    | st.from_regex(DATES, fullmatch=True)
    | st.text("0123456789+-._eExob:~TtruFalsnN", min_size=1, max_size=7)
    | st.sampled_from(WRITTEN)
)
def test_every_scalar_is_read_as_dvc_reads_it(text: str) -> None:
    assert outcome(yaml_1_2.load, text) == outcome(loads_yaml, text)


@pytest.mark.parametrize(("text", "value"), [("010", 10), ("08", 8), ("0o10", 8), ("1_000", 1000), ("0x1F", 31), ("-0b11", -3)])
def test_a_number_has_one_reading(text: str, value: int) -> None:
    assert params.parse(f"dedup: {{use: exact, seed: {text}}}")["dedup"]["seed"] == value


@pytest.mark.parametrize("text", ["a: {with: {from: 2024-01-31}}", "a: [{b: 2024-01-31 10:00:00}]", "a: {2024-01-31: b}"])
def test_a_date_is_refused_where_a_text_is_meant(text: str) -> None:
    with pytest.raises(ParamsError, match="is a date for YAML") as raised:
        params.parse(text)
    assert raised.value.where.startswith("params.yaml, key a")
    assert "quotes" in raised.value.fix


def test_params_have_texts_numbers_and_anchors(tmp_path: Path) -> None:
    section = "report: &report {use: card, with: {language: no, rate: 1e-5}}\nalign: {<<: *report, data: x}\n"
    (tmp_path / "params.yaml").write_text(section)
    content = params.load(tmp_path)
    assert content["report"]["with"] == {"language": "no", "rate": 1e-5}
    assert content["align"] == {"use": "card", "with": content["report"]["with"], "data": "x"}
