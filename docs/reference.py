"""Writes reference.md: kinds, hooks and events, from the code's own docstrings. `make docs` runs it; a test compares."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from workbench import events, hookspecs
from workbench.artifacts.benchmark import Question
from workbench.artifacts.corpus import Corpus, Document
from workbench.artifacts.evaluation import Evaluation
from workbench.artifacts.examples import Conversation, Preference, Problem
from workbench.builtin import workbench_kinds
from workbench.estimate import Estimate
from workbench.kinds.dedup import Clusters
from workbench.kinds.report import Results
from workbench.kinds.rows import RowSource
from workbench.kinds.stage import Stage
from workbench.plugin import Plugin
from workbench.run import Chart, Generation, Run

FILE = Path(__file__).with_suffix(".md")
HEAD = """# Reference of kinds, hooks and events

Made from the code by `make docs`. [plugins.md](plugins.md) is the guide; `workbench info KIND NAME` describes what is installed.
"""
HANDED = (
    Run,
    Chart,
    Generation,
    Document,
    Corpus,
    Conversation,
    Preference,
    Problem,
    Question,
    Clusters,
    Evaluation,
    Results,
    Estimate,
)
"""What methods of plugins are given and return."""
FLOWS = ("inputs", "outputs", "parts")
SECTIONS = ("Args:", "Raises:", "Returns:")
ROLE = re.compile(r":\w+:`~?([^`]+)`")


def render() -> str:
    """The whole page."""
    parts = [HEAD, *_kinds(), *_handed(), *_hooks(), *_events()]
    return "\n".join(part.rstrip() + "\n" for part in parts)


def _kinds() -> Iterator[str]:
    yield "## Every plugin"
    yield from _class(Plugin, "workbench.plugin.Plugin")
    yield "A plugin that is a stage of the pipeline has, besides:"
    yield from _members(Stage)
    yield "## Kinds"
    for kind in (base.kind for base in workbench_kinds()):
        base = _base(kind)
        yield f"### {kind}"
        yield f"`{base.__module__}.{base.__qualname__}`: {_text(base)}"
        yield from _flows(base)
        yield from _members(base)
    yield "### Sources of rows"
    yield f"`{RowSource.__module__}.{RowSource.__qualname__}`: {_text(RowSource)}"
    yield from _members(RowSource)


def _base(kind: str) -> type[Plugin[Any]]:
    """The class in the kind's module that says its kind."""
    found = vars(import_module(f"workbench.kinds.{kind}")).values()
    (base,) = [
        value for value in found if isinstance(value, type) and issubclass(value, Plugin) and vars(value).get("kind") == kind
    ]
    return base


def _flows(base: type[Plugin[Any]]) -> Iterator[str]:
    if not issubclass(base, Stage):
        return
    rows = []
    for what in FLOWS:
        named: Mapping[str, str] = getattr(base, what)
        for flow, declared in named.items():
            more = ", may be left out" if flow in base.optional else ""
            rows.append(f"| {what} | `{flow}` | {'what `produces` says' if declared == '*' else declared}{more} |")
    yield "\n".join(["| | Name | Format or kind |", "|---|---|---|", *rows])


def _handed() -> Iterator[str]:
    yield "## What methods are given and return"
    for cls in HANDED:
        yield from _class(cls, f"{cls.__module__}.{cls.__qualname__}")


def _hooks() -> Iterator[str]:
    yield "## The hook of every distribution"
    yield from _function(hookspecs.workbench_plugins, "### ")
    yield "## Hooks of a tracker"
    yield _text(hookspecs.TrackerHooks)
    for hook in _functions(hookspecs.TrackerHooks):
        yield from _function(hook, "### ")


def _events() -> Iterator[str]:
    yield "## Events"
    yield f"{_paragraphs(inspect.getdoc(events) or '')} All are in `workbench.events`."
    for cls in vars(events).values():
        if isinstance(cls, type) and is_dataclass(cls) and cls.__module__ == events.__name__:
            yield from _class(cls, cls.__qualname__)


def _class(cls: type[Any], name: str) -> Iterator[str]:
    parents = [f"`{base.__name__}`" for base in cls.__bases__ if is_dataclass(base)]
    yield f"### `{name}`"
    yield _text(cls) + (f" Has the fields of {', '.join(parents)}." if parents else "")
    yield from _members(cls)


def _members(cls: type[Any]) -> Iterator[str]:
    fields = [f"- `{name}`: `{kind}`{f'. {told}' if told else ''}" for name, kind, told in _attributes(cls)]
    if fields:
        yield "\n".join(fields)
    for function in sorted(_functions(cls), key=lambda method: not getattr(method, "__isabstractmethod__", False)):
        yield from _function(function, "#### ", "**You write it.** " if getattr(function, "__isabstractmethod__", False) else "")


def _attributes(cls: type[Any]) -> Iterator[tuple[str, str, str]]:
    """Name, type and docstring of what a class declares, and of its properties."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(tree, ast.ClassDef)
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and not node.target.id.startswith("_"):
            told = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            if told or not issubclass(cls, Plugin):  # a kind that sets what its base declares says nothing new
                yield node.target.id, _type(ast.unparse(node.annotation)), " ".join(_plain(str(told)).split())
    for name, value in vars(cls).items():
        if isinstance(value, property) and not name.startswith("_"):
            yield name, _type(str(inspect.signature(value.fget).return_annotation)), _paragraphs(inspect.getdoc(value) or "")  # type: ignore[arg-type]


def _type(annotation: str) -> str:
    inner = re.fullmatch(r"ClassVar\[(.*)\]", annotation)
    return inner[1] if inner else annotation


def _functions(cls: type[Any]) -> list[Any]:
    """Its public methods, but for those that only the core calls."""
    found = [value.__func__ if isinstance(value, classmethod) else value for value in vars(cls).values()]
    return [
        value
        for value in found
        if inspect.isfunction(value) and not value.__name__.startswith("_") and value.__name__ != "execute"
    ]


def _function(function: Any, level: str, lead: str = "") -> Iterator[str]:
    yield f"{level}`{function.__name__}{_signature(function)}`"
    yield lead + _text(function)


def _signature(function: Any) -> str:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(tree, ast.FunctionDef)
    tree.args.args = [argument for argument in tree.args.args if argument.arg not in {"self", "cls"}]
    return f"({ast.unparse(tree.args)})" + (f" -> {ast.unparse(tree.returns)}" if tree.returns else "")


def _text(thing: Any) -> str:
    return _paragraphs(inspect.getdoc(thing) or "")


def _paragraphs(docstring: str) -> str:
    """Markdown of a docstring: sections become lists, and what is indented after ``::`` stays code."""
    lines: list[str] = []
    section = False
    for line in _plain(docstring).splitlines():
        if line in SECTIONS:
            section = True
            lines += [f"{line.removesuffix(':')}:", ""]
        elif section and line.startswith("    "):
            lines.append(re.sub(r"^ {4}(\w+): ", r"- `\1`: ", line) if line[4] != " " else line[6:])
        else:
            section = False
            lines.append(line)
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Backticks as in Markdown, cross references by their names."""
    return ROLE.sub(lambda found: f"`{found[1].rpartition('.')[2]}`", text.replace("::\n", ":\n")).replace("``", "`")


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
