"""The JSON Schema of params.yaml: it accepts what the workbench accepts, and editors find typical mistakes by it."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from plugin_project import install, stranger
from workspace import change

from workbench.catalog import schema
from workbench.errors import WorkbenchError
from workbench.hosting.host import Installed, registry
from workbench.kinds.source import Source
from workbench.plugin import Config
from workbench.project import params, plugin_lock

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    made = schema.build(registry(PROJECT))
    jsonschema.Draft202012Validator.check_schema(made)
    assert made["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]
    return jsonschema.Draft202012Validator(made)


def default() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    return content


def places(validator: jsonschema.Draft202012Validator, content: object) -> dict[str, str]:
    """Where the schema finds a mistake → what it says."""
    return {error.json_path: error.message for error in validator.iter_errors(content)}


def test_the_default_params_are_valid(validator: jsonschema.Draft202012Validator) -> None:
    assert places(validator, default()) == {}


def test_params_yaml_points_editors_to_the_schema() -> None:
    assert f"# yaml-language-server: $schema={schema.SCHEMA_FILE}" in (PROJECT / "params.yaml").read_text().splitlines()


FILTERS, FILTER_0 = "curate.corpus.filters", "$.curate.corpus.filters[0]"
MISTAKES: dict[str, tuple[dict[str, Any], str, str]] = {
    "misspelt section": ({"dedupe": {"use": "minhash"}}, "$", "'dedupe' was unexpected"),
    "no plugin named": ({"dedup": {"with": {}}}, "$.dedup", "'use' is a required property"),
    "unknown plugin": ({"dedup.use": "minhsh"}, "$.dedup.use", "'minhsh' is not one of ['exact', 'minhash'"),
    "plugin of another kind": ({"sft.use": "dpo"}, "$.sft.use", "'dpo' is not one of"),
    "misspelt key beside use": ({"dedup.sed": 1}, "$.dedup", "'sed' was unexpected"),
    "misspelt key": ({"dedup.with.treshold": 0.5}, "$.dedup.with", "'treshold' was unexpected"),
    "key of another plugin": ({"dedup.use": "exact"}, "$.dedup.with", "'threshold' were unexpected"),
    "misspelt key of a section": ({"sft.with.optimizer.lr": 1.0}, "$.sft.with.optimizer", "'lr' was unexpected"),
    "out of range": ({"dedup.with.threshold": 1.5}, "$.dedup.with.threshold", "1.5 is greater than"),
    "out of range in a section": ({"sft.with.optimizer.decay_share": 0}, "$.sft.with.optimizer.decay_share", "0 is less than"),
    "wrong type": ({"tokenize.with.vocab_size": "many"}, "$.tokenize.with.vocab_size", "'many' is not of type 'integer'"),
    "no such choice": ({"align.with.loss": "sigmoyd"}, "$.align.with.loss", "'sigmoyd' is not one of ['sigmoid'"),
    "negative seed": ({"dedup.seed": -1}, "$.dedup.seed", "-1 is less than the minimum"),
    "great seed": ({"dedup.seed": 2**32}, "$.dedup.seed", "is greater than the maximum"),
    "policy": ({"dedup.rerun": "never"}, "$.dedup.rerun", "'never' is not one of ['rerun', 'warn', 'pin']"),
    "unknown filter": ({FILTERS: [{"use": "lenght"}]}, f"{FILTER_0}.use", "'lenght' is not one of"),
    "misspelt key of a filter": (
        {FILTERS: [{"use": "length", "wiht": {}}]}, FILTER_0, "'wiht' was unexpected",
    ),
    "filters that are no list": ({FILTERS: {"use": "length"}}, "$.curate.corpus.filters", "is not of type 'array'"),
    "path that is none": ({"align.data": 3}, "$.align.data", "3 is not of type 'string'"),
    "bad name": ({"curate": {"a.b": {"use": "files", "with": {"path": "x"}}}}, "$.curate", "'a.b' does not match"),
    "empty section": ({"eval": {}}, "$.eval", "should be non-empty"),
    "required key left out": ({"curate.corpus": {"use": "files"}}, "$.curate.corpus", "'with' is a required property"),
    "flow of another stage": ({"dedup.data": "data/x"}, "$.dedup", "'data' was unexpected"),
    "unknown plugin in a chain": ({"align": {"first": {"use": "dop"}}}, "$.align.first.use", "'dop' is not one of"),
    "key in a chain": ({"align": {"first": {"use": "dpo"}, "seed": 1}}, "$.align.seed", "is not of type 'object'"),
    "seed of a filter": ({FILTERS: [{"use": "length", "seed": 1}]}, FILTER_0, "'seed' was unexpected"),
    "models that are no list": ({"models": "base"}, "$.models", "is not of type 'array'"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_typical_mistakes_are_found_where_they_are(validator: jsonschema.Draft202012Validator, mistake: str) -> None:
    changes, place, message = MISTAKES[mistake]
    content = default()
    change(content, changes)
    assert message in places(validator, content).get(place, "")


@pytest.mark.parametrize(
    "changes",
    [
        {"dedup": {"use": "exact"}},
        {"dedup.rerun": "warn", "align.rerun": "pin"},
        {"curate.corpus.filters": []},
        {"curate.news_2": {"use": "files", "with": {"path": "news/*.txt"}, "filters": [{"use": "length"}], "seed": 2**32 - 1}},
        {"models": ["base"]},
        {"align": {"first": {"use": "dpo", "data": "data/curated/preferences"}, "second": {"use": "dpo", "rerun": "pin"}}},
    ],
)
def test_what_the_workbench_accepts_is_accepted(validator: jsonschema.Draft202012Validator, changes: dict[str, Any]) -> None:
    content = default()
    change(content, changes)
    for entry in params.entries(content, registry(PROJECT).sections):
        plugin_lock.resolve_entry(entry, registry(PROJECT))
    assert places(validator, content) == {}


def leaves(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, key))
    else:
        yield path


CONFIGURED = [path for path in leaves(default()) if "with" in path]
VALUES = st.one_of(
    st.integers(-3, 300), st.floats(-2, 2), st.sampled_from(["muon", "written", "x", ""]), st.just([]), st.just({})
)


@settings(max_examples=80, deadline=None)
@given(path=st.sampled_from(CONFIGURED), value=VALUES)
def test_schema_and_workbench_agree_on_any_value_of_any_key(path: tuple[Any, ...], value: object) -> None:
    """What the schema refuses the workbench refuses, but for types that pydantic converts; and the other way round, but for
    what a plugin checks by code of its own."""
    content = copy.deepcopy(default())
    place: Any = content
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    errors = list(CHECKER.iter_errors(content))
    refusal = ""
    try:
        for entry in params.entries(content, registry(PROJECT).sections):
            plugin_lock.resolve_entry(entry, registry(PROJECT))
    except WorkbenchError as error:
        refusal = str(error)
    if refusal:
        assert errors or "Value error" in refusal or "Assertion" in refusal, refusal
    else:
        assert [error.message for error in errors if error.validator != "type"] == []


CHECKER = jsonschema.Draft202012Validator(schema.build(registry(PROJECT)))


def test_a_plugin_that_is_installed_joins_the_schema(tmp_path: Path) -> None:
    install(tmp_path, "demo-short", stranger("short", name="demo-short"))
    command = [sys.executable, "-m", "workbench", "schema"]
    environment = {"PYTHONPATH": f"{tmp_path}:{PROJECT}", "PATH": ""}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    made = json.loads(done.stdout)
    assert "demo-short" in made["$defs"]["filter-in-a-list"]["properties"]["use"]["enum"]
    assert "- demo-short: Keeps short documents." in made["$defs"]["filter-in-a-list"]["properties"]["use"]["description"]
    assert made["$defs"]["ShortConfig"]["properties"]["limit"]["description"] == "Greatest length, characters."
    content = default()
    content["curate"]["corpus"]["filters"] = [{"use": "demo-short", "with": {"limit": "x"}}]
    found = places(jsonschema.Draft202012Validator(made), content)
    assert found == {"$.curate.corpus.filters[0].with.limit": "'x' is not of type 'integer'"}


def test_lists_of_plugins_that_only_some_take() -> None:
    class Mixture(Source[Config]):
        """Several."""

        name = "mixture"
        Config = Config
        parts: ClassVar[Mapping[str, str]] = {"sources": "source"}

        def records(self, run: object) -> Iterator[Any]:
            """None."""
            return iter(())

    known = registry(PROJECT)
    made = schema.build(replace(known, installed=(*known.installed, Installed(Mixture, "demo", "1", "demo"))))
    validator = jsonschema.Draft202012Validator(made)
    content = default()
    sources = [{"use": "pydocs", "with": {"private": True}}, {"use": "arithmetic"}]
    content["curate"] = {"several": {"use": "mixture", "sources": sources}}
    assert places(validator, content) == {}
    content["curate"] = {
        "several": {"use": "pydocs", "sources": sources},
        "other": {"use": "mixture", "sources": [{"use": "pydoc"}]},
    }
    assert set(places(validator, content)) == {"$.curate.several", "$.curate.other.sources[0].use"}


def test_a_type_that_json_cannot_tell_is_any_mapping() -> None:
    from collections.abc import Callable

    class Odd(Config):
        call: Callable[[], int] = int
        """A function."""

    found, _ = schema.of_configs([Odd])
    assert found[Odd] == {"type": "object"}


def test_the_file_is_written_for_editors(tmp_path: Path) -> None:
    file = schema.write(tmp_path, registry(PROJECT))
    assert file == Path(".workbench/params.schema.json")
    assert json.loads((tmp_path / file).read_text(encoding="utf-8")) == schema.build(registry(PROJECT))
