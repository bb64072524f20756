"""A kind or a format that a distribution may not add is refused, with its line and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from plugin_project import install

from workbench.errors import PluginError
from workbench.hosting.host import Registry, registry
from workbench.project.params import Choice, Entry
from workbench.project.plugin_lock import make, resolve_entry

KIND = '''
from workbench import hookimpl
from workbench.artifacts.formats import Format
from workbench.kinds.stage import Stage


class Grade(Stage):
    """Grades a corpus."""

    kind = "grade"
    section = "grade"
    inputs = {"corpus": "corpus"}
    outputs = {"out": "grades"}

    def execute(self, inputs, outputs, run):
        """Nothing."""


@hookimpl
def workbench_kinds():
    return [Grade]


@hookimpl
def workbench_formats():
    return [Format("grades", lambda path: None)]
'''


def found(site: Path, source: str = KIND) -> Registry:
    install(site, "demo-grade", source)
    return registry(site)


def test_a_kind_and_its_format_stand_beside_the_workbenchs_own(site: Path) -> None:
    known = found(site)
    assert list(known.kinds)[-1] == "grade"
    assert known.sections["grade"] is known.kinds["grade"]
    assert known.formats["grades"].name == "grades"
    assert known.owners["kind grade"] == known.owners["format grades"] == "demo-grade"
    assert known.owners["kind eval"] == "pionero-workbench"


@pytest.mark.parametrize(
    ("old", "new", "problem", "fix"),
    [
        ('kind = "grade"', 'kind = "eval"', "the kind 'eval' is there already", "another name"),
        ('section = "grade"', 'section = "eval"', "belongs to the kind 'eval'", "another section"),
        ('section = "grade"', 'section = "models"', "section is 'models'", "models"),
        ('section = "grade"', 'section = "a.b"', "section is 'a.b'", "letters, digits and hyphens"),
        ('    section = "grade"\n', "", "sets no `section`", "set `section`"),
        ('"out": "grades"', '"out": "marks"', "reads or writes marks", "workbench_formats"),
        ('    """Grades a corpus."""\n', "", "has no docstring", "under the class line"),
        ("return [Grade]", "return [Stage]", "is not the base class of a kind", "set `kind`"),
        ("return [Grade]", "return Grade", "not a list", "return a list"),
        ('Format("grades"', 'Format("corpus"', "the format 'corpus' is there already", "another name"),
        ('[Format("grades", lambda path: None)]', '["grades"]', "is no format", "instances of"),
    ],
)
def test_what_may_not_be_added_is_refused(site: Path, old: str, new: str, problem: str, fix: str) -> None:
    assert KIND.count(old) == 1
    known = found(site, KIND.replace(old, new))
    said = {broken.error: broken.fix for broken in known.broken if broken.distribution == "demo-grade"}
    assert [error for error, remedy in said.items() if problem in error and fix in remedy], said
    assert "eval" in known.kinds
    assert "corpus" in known.formats


def test_a_plugin_of_a_kind_that_nobody_offers_is_refused(site: Path) -> None:
    source = KIND.replace("@hookimpl\ndef workbench_kinds():\n    return [Grade]\n", "")
    source += '''

class GoodConfig(__import__("workbench.plugin", fromlist=["Config"]).Config):
    """Configuration."""


class Good(Grade):
    """Grades well."""

    name = "good"
    Config = GoodConfig


@hookimpl
def workbench_plugins():
    return [Good]
'''
    (broken,) = [broken for broken in found(site, source).broken if broken.distribution == "demo-grade"]
    assert "which no distribution offers" in broken.error
    assert "workbench_kinds" in broken.fix


SOURCE = '''
from workbench import hookimpl
from workbench.artifacts.corpus import Document
from workbench.kinds.source import Source
from workbench.plugin import Config


class MarksConfig(Config):
    """Configuration."""


class Marks(Source[MarksConfig]):
    """Gives marks."""

    name = "marks"
    Config = MarksConfig
    produces = "grades"

    def records(self, run):
        """One document."""
        yield Document("text", "here", {"origin": "a"})


@hookimpl
def workbench_plugins():
    return [Marks]
'''
ENTRY = Entry("curate.marks", "source", Choice("marks", {}, "curate.marks"), 0, {})


def test_the_distribution_of_a_format_that_a_plugin_produces_is_loaded_with_it(site: Path) -> None:
    install(site, "demo-marks", SOURCE)
    known = found(site)
    resolved = resolve_entry(ENTRY, known)
    assert resolved.beside == {"demo-grade": "demo_grade"}
    assert make(site, [resolved], [])["beside"] == {"curate.marks": ["demo-grade"]}


def test_a_format_that_nobody_offers_is_refused_before_anything_runs(site: Path) -> None:
    install(site, "demo-marks", SOURCE.replace('"grades"', '"garde"'))
    with pytest.raises(PluginError, match="reads or writes garde, which is not a known format") as caught:
        resolve_entry(ENTRY, found(site))
    assert "curate.marks" in caught.value.where
    assert "produces" in caught.value.fix
