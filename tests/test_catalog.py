"""What `workbench plugins` and `workbench info` say: types in words, bounds, defaults, and examples that are valid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from plugin_project import forget_modules, install, stranger
from pydantic import Field, create_model
from test_host import SHORT

from workbench.catalog import config_keys, example, listing
from workbench.hosting.host import Installed, Registry, registry
from workbench.kinds.stage import Stage
from workbench.plugin import Config
from workbench.project import params, plugin_lock
from workbench.project.params import Choice

PROJECT = Path(__file__).resolve().parent.parent
KNOWN = registry(PROJECT)
ROW = {"kind", "name", "distribution", "version", "source", "path", "import_seconds", "health", "where", "fix"}
FACTS = ROW | {
    "code", "contract", "dependencies", "description", "reads", "writes", "config", "example", "file", "place",
}  # fmt: skip


class Section(Config):
    """A section."""

    rate: float = Field(0.5, gt=0, le=1)
    """Share."""
    names: list[str] = Field([])
    """Words."""


class Rich(Config):
    """Of every type."""

    count: int = Field(ge=1, le=9)
    """Items."""
    name: Literal["muon", "adamw"] = "muon"
    """Choice."""
    words: tuple[str, ...] = ("a",)
    """List."""
    few: list[Annotated[int, Field(ge=2)]] = Field([2], min_length=1, max_length=3)
    """Bounded list."""
    maybe: int | None = None
    """Optional."""
    either: float | str = 1.0
    """Union."""
    table: dict[str, float] = Field({})
    """Mapping."""
    free: dict[str, Any] = Field({})
    """Free mapping."""
    folder: Path = Path("data")
    """Path."""
    flag: bool = False
    """Flag."""
    section: Section = Section(rate=0.25)
    """Section."""
    sections: list[Section] = Field([])
    """Sections."""
    named: dict[str, Section] = Field({})
    """Sections by name."""
    other: Section | None = None
    """Optional section."""


KEYS = {row["key"]: row for row in config_keys.describe(Rich)}


@pytest.mark.parametrize(
    ("key", "type_", "default", "bounds"),
    [
        ("count", "int", None, ">= 1, <= 9"),
        ("name", '"muon" or "adamw"', "muon", ""),
        ("words", "list of str", ["a"], ""),
        ("few", "list of int", [2], "items >= 1, items <= 3, each >= 2"),
        ("maybe", "int or null", None, ""),
        ("either", "float or str", 1.0, ""),
        ("table", "mapping of str to float", {}, ""),
        ("free", "mapping", {}, ""),
        ("folder", "path", "data", ""),
        ("flag", "bool", False, ""),
        ("section", "section", {"rate": 0.25, "names": []}, ""),
        ("section.rate", "float", 0.25, "> 0, <= 1"),
        ("section.names", "list of str", [], ""),
        ("sections", "list of section", [], ""),
        ("sections[].rate", "float", 0.5, "> 0, <= 1"),
        ("named", "mapping of str to section", {}, ""),
        ("named.KEY.rate", "float", 0.5, "> 0, <= 1"),
        ("other", "section or null", None, ""),
        ("other.rate", "float", 0.5, "> 0, <= 1"),
    ],
)
def test_a_key_in_words(key: str, type_: str, default: object, bounds: str) -> None:
    row = KEYS[key]
    assert (row["type"], row["default"], row["bounds"]) == (type_, default, bounds)
    assert row["meaning"]
    assert row["required"] is (key == "count")


def test_the_default_of_a_written_section_is_told_apart() -> None:
    assert (KEYS["section.rate"]["default"], KEYS["section.rate"]["default_in_section"]) == (0.25, 0.5)
    assert Rich(count=1).section.rate == 0.25
    assert Rich.model_validate({"count": 1, "section": {"names": ["x"]}}).section.rate == 0.5


def installed() -> list[Installed]:
    return list(KNOWN.installed)


@pytest.mark.parametrize("entry", installed(), ids=lambda entry: "-".join(entry.key))
def test_every_installed_plugin_is_described_and_its_example_is_valid(entry: Installed) -> None:
    facts = listing.describe(KNOWN, entry)
    assert set(facts) == FACTS
    assert json.loads(json.dumps(facts)) == facts
    assert facts["health"] == "ok"
    assert facts["source"] in ("editable", "wheel", "workspace")
    assert all("typing" not in row["type"] and "Annotated" not in row["type"] and row["type"] != "any" for row in facts["config"])
    block = yaml.safe_load(facts["example"])
    if issubclass(entry.plugin, Stage):
        (found,) = params.entries(block, KNOWN.sections)
        plugin_lock.resolve_entry(found, KNOWN)
    elif entry.plugin.kind == "tracker":
        assert block == {"trackers": [entry.plugin.name]}
    else:
        (part,) = next(iter(block.values()))
        plugin_lock.configure(entry.plugin, Choice(part["use"], part["with"], "example"))
    text = "\n".join(listing.page(facts))
    assert all(row["key"] in text for row in facts["config"])


def test_the_example_names_the_data_that_the_workspace_makes() -> None:
    for kind, data in (("align", "data/curated/preferences"), ("sft", "data/curated/instructions")):
        entry = next(entry for entry in KNOWN.installed if entry.plugin.kind == kind)
        assert yaml.safe_load(listing.describe(KNOWN, entry)["example"])[kind]["data"] == data


BOUND = st.integers(-1000, 1000)
FLOAT = st.floats(-1e6, 1e6)


@st.composite
def required(draw: st.DrawFn) -> tuple[Any, Any]:
    """The type of a required field that has values."""
    low, size = draw(BOUND), draw(st.integers(0, 1000))
    word, other = draw(st.sampled_from([("ge", "le"), ("gt", "le"), ("ge", "lt"), ("gt", "lt")]))
    whole = Field(**{word: low, other: low + size + 2})
    real = draw(FLOAT)
    part = Field(**{word: real, other: real + draw(st.floats(0.01, 1e3))})
    fields = [
        (int, whole), (float, part), (int, Field(ge=low)), (int, Field(lt=low)), (float, Field(gt=real)),
        (float, Field(le=real)), (int, Field(multiple_of=abs(low) + 1)), (str, Field(min_length=size % 9)), (bool, Field()),
        (list[int], Field(min_length=size % 5)), (list[Annotated[int, whole]], Field()), (Literal["x", 3], Field()),
        (Section, Field()), (dict[str, int], Field()), (int | None, Field(ge=low)), (Path, Field()),
    ]  # fmt: skip
    return draw(st.sampled_from(fields))


@given(fields=st.lists(required(), max_size=4))
def test_the_example_of_any_configuration_is_valid(fields: list[tuple[Any, Any]]) -> None:
    named: Any = {f"key{position}": field for position, field in enumerate(fields)}
    model = create_model("Any", __base__=Config, **named)
    block = yaml.safe_load(yaml.safe_dump(example.of_config(model)))
    assert set(block) == set(named)
    model.model_validate(block)


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(site)
    install(site, "demo-one", SHORT)
    install(site, "demo-two", SHORT)
    install(site, "demo-filter-bad", "import nowhere_to_be_found\n")
    install(site, "demo-undocumented", stranger("short", ('    """Keeps short documents."""\n', ""), name="plain"))
    registry.cache_clear()
    yield registry(tmp_path)
    registry.cache_clear()
    forget_modules()


def test_rows_tell_what_is_wrong_and_how_to_mend_it(known: Registry) -> None:
    rows = [row for row in listing.rows(known) if row["distribution"].startswith("demo")]
    assert all(set(row) == ROW for row in rows)
    short, same, plain, bad = (rows[position] for position in (1, 2, 0, 3))
    assert short["health"] == same["health"] == "offered by demo-one 1.0 and demo-two 1.0"
    assert (short["source"], short["name"]) == ("wheel", "short")
    assert (plain["kind"], plain["name"], plain["health"]) == ("filter", "plain", "class Short has no docstring")
    assert "demo_undocumented/__init__.py, line " in plain["where"]
    assert (bad["kind"], bad["name"]) == (None, None)
    assert bad["health"] == "ModuleNotFoundError: No module named 'nowhere_to_be_found'"
    text = list(listing.lines(rows))
    assert text[0] == "filter"
    assert "could not be loaded" in text
    assert f"      fix:   {bad['fix']}" in text


def test_a_slow_import_is_said(known: Registry) -> None:
    row = next(row for row in listing.rows(known) if row["name"] == "short")
    assert ", imported in 2.5 s" in "\n".join(listing.lines([{**row, "import_seconds": 2.5}]))
    assert "imported" not in "\n".join(listing.lines([{**row, "import_seconds": 0.2}]))


def test_a_copy_in_the_workspace_is_told_from_what_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(site)
    install(site, "demo-one", SHORT)
    copy = tmp_path / "plugins" / "demo-one" / "demo_one"
    copy.mkdir(parents=True)
    (copy.parent / "pyproject.toml").write_text("")
    (copy / "__init__.py").write_text(SHORT)
    registry.cache_clear()
    row = next(row for row in listing.rows(registry(tmp_path)) if row["name"] == "short")
    registry.cache_clear()
    forget_modules()
    assert (row["source"], row["path"]) == ("workspace", str(copy))
