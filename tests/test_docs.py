"""The author's guide is run: its files are written, its commands called, its blocks merged into params.yaml and checked."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import beside
import pytest
import workspace
import yaml
from workspace import Workspace

from workbench.builtin import workbench_kinds
from workbench.hosting.contract import CORE_DISTRIBUTION, RELEASES
from workbench.models import types as model_types

KINDS = [base.kind for base in workbench_kinds()]

DOCS = Path(__file__).resolve().parent.parent / "docs"
QUICK = ("source",)
"""Kinds whose page `make test` follows, too."""
PAGES = [
    "plugins",
    *(pytest.param(f"plugins/{kind}", marks=[] if kind in QUICK else [pytest.mark.slow]) for kind in KINDS),
]
FENCE = re.compile(r'^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL)
PARAMS = ("params.yaml", "compute.yaml")
LONG = ("dvc", "make")
"""Commands of the guide that run a whole pipeline; other tests do."""
LINK = re.compile(r"\]\((?!https?:)(?P<path>[^)#]*)(?:#(?P<anchor>[^)]*))?\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    title: str
    text: str


def blocks(page: str) -> list[Block]:
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    return [Block(found["language"], found["title"] or "", found["text"]) for found in FENCE.finditer(text)]


@pytest.fixture(scope="module")
def bare(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace of the project's own files, with its documentation, beside an environment to install into."""
    made = workspace.create(tmp_path_factory.mktemp("docs") / "made")
    shutil.copytree(checkout / "docs", made.root / "docs", ignore=shutil.ignore_patterns("pictures"))
    environment = beside.create(tmp_path_factory.mktemp("beside"))
    return replace(made, variables={**made.variables, **environment.variables})


@pytest.fixture
def made(bare: Workspace) -> Workspace:
    """The same for every page, but for what pages before it have installed."""
    bare.git("checkout", "--quiet", "--", *PARAMS)
    return bare


@pytest.mark.parametrize("page", PAGES)
def test_a_page_does_what_it_says(made: Workspace, page: str) -> None:
    written = []
    for block in blocks(page):
        if block.language == "sh":
            run(made, block.text)
        elif block.title in PARAMS:
            made.edit(block.title, lambda content, block=block: merge(content, yaml.safe_load(block.text)))
            checked = made.call("workbench", "check")
            assert checked.code == 0, checked.text
        elif block.title:
            written.append(made.root / block.title)
            written[-1].parent.mkdir(parents=True, exist_ok=True)
            written[-1].write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            ast.parse(block.text)
        elif block.language == "toml":
            content = tomllib.loads(block.text)
            assert content.get("dependencies", [f"{CORE_DISTRIBUTION}{RELEASES}"]) == [f"{CORE_DISTRIBUTION}{RELEASES}"]
            assert set(content.get("project", {}).get("entry-points", {})) <= {"workbench", model_types.GROUP}
        else:
            assert isinstance(yaml.safe_load(block.text), dict)
    require_clean(made, [file for file in written if file.suffix == ".py"])


def run(made: Workspace, commands: str) -> None:
    for line in commands.splitlines():
        words = shlex.split(line, comments=True)
        if words and words[0] not in LONG:
            done = made.call(*words)
            assert done.code == 0, f"{line}\n{done.text}"
            if words[0] == "pytest":
                assert " passed" in done.out


def merge(content: dict[str, Any], block: Mapping[str, Any]) -> None:
    """What a reader does with the lines: they replace what is under their keys."""
    for key, value in block.items():
        if isinstance(value, dict) and isinstance(content.get(key), dict) and key != "with":
            merge(content[key], value)
        else:
            content[key] = value


def require_clean(made: Workspace, files: list[Path]) -> None:
    """The code of the guide keeps the project's own rules."""
    shutil.copyfile(DOCS.parent / "pyproject.toml", made.root / "pyproject.toml")
    for words in (("check", "--no-cache"), ("format", "--check", "--diff", "--no-cache")):
        done = subprocess.run(["ruff", *words, *map(str, files)], cwd=made.root, capture_output=True, text=True, check=False)
        assert not files or done.returncode == 0, done.stdout


def test_every_kind_has_an_example_of_its_own() -> None:
    for kind in KINDS:
        titles = [block.title for block in blocks(f"plugins/{kind}")]
        assert any(re.fullmatch(rf"plugins/{kind}-\w+/workbench_{kind}_\w+/__init__.py", title) for title in titles)
        assert any(re.fullmatch(rf"plugins/{kind}-\w+/tests/test_\w+.py", title) for title in titles)
        assert f"(plugins/{kind}.md)" in (DOCS / "plugins.md").read_text(encoding="utf-8")


def test_the_reference_is_in_step_with_the_code(checkout: Path) -> None:
    made = runpy.run_path(str(DOCS / "reference.py"))["render"]()
    assert (DOCS / "reference.md").read_text(encoding="utf-8") == made, "run `make docs`"


def test_the_reference_has_every_kind_hook_and_event() -> None:
    from workbench import events, hookspecs

    text = (DOCS / "reference.md").read_text(encoding="utf-8")
    hooks = [name for name in vars(hookspecs.TrackerHooks) if not name.startswith("_")]
    known = [name for name, value in vars(events).items() if isinstance(value, type) and value.__module__ == events.__name__]
    assert len(hooks) >= 11
    assert len(known) >= 11
    for name in [*hooks, *known, "workbench_plugins"]:
        assert f"### `{name}" in text, name
    for kind in KINDS:
        assert f"### {kind}\n" in text


@pytest.mark.parametrize("page", [file.relative_to(DOCS).as_posix() for file in sorted(DOCS.rglob("*.md"))])
def test_links_lead_somewhere(page: str) -> None:
    file = DOCS / page
    for link in LINK.finditer(re.sub(FENCE, "", file.read_text(encoding="utf-8"))):
        target = (file.parent / link["path"]).resolve() if link["path"] else file
        assert target.exists(), link[0]
        if link["anchor"]:
            assert link["anchor"] in anchors(target), link[0]


def anchors(file: Path) -> set[str]:
    """The anchors that a page's headings have on the usual hosts."""
    text = re.sub(FENCE, "", file.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
