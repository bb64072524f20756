"""The meaning of a file: a hash of what Python executes, and the modules it imports.

Comments, docstrings, layout and types that only a checker reads do not change what runs, so they do not count.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from workbench.errors import PluginError

CORE = "workbench"
PRIVATE = f"{CORE}.lib"
"""Package that never decides an output; neither its code nor the lines that import it count."""
FAMILY = f"{CORE}_"
"""Prefix of packages whose code counts wherever a plugin imports them."""
IGNORED = {"__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
"""Folders of a package that are not part of it."""
MARK = "DECIDES_NO_OUTPUT"
"""A module of the core that sets it to True does not count: what errors say, what a run will cost."""
_READ_NO_ANNOTATIONS = frozenset(
    {
        *("abstractmethod", "cache", "cached_property", "classmethod", "contextmanager", "hookimpl"),
        *("lru_cache", "override", "property", "setter", "staticmethod"),
    }
)
"""Decorators that leave annotations alone. Any other may read them, as functools.singledispatch and pydantic's do."""


@dataclass(frozen=True)
class Meaning:
    """The meaning of a file."""

    digest: str
    """Hash of what Python executes, or of the bytes of anything else."""
    imports: tuple[str, ...] = ()
    """Modules that it imports anywhere except under ``if TYPE_CHECKING``; ``from a import b`` gives a and, in the core, a.b."""
    counts: bool = True
    """False for a module with :data:`MARK`."""


@cache
def read(file: Path) -> Meaning:
    """The meaning of one file.

    Raises:
        PluginError: it is Python with a syntax error.
    """
    content = file.read_bytes()
    if file.suffix != ".py":
        return Meaning(hashlib.sha256(content).hexdigest())
    try:
        tree = ast.parse(content)
    except SyntaxError as error:
        raise PluginError(f"syntax error: {error.msg}", f"{file}, line {error.lineno}", "mend the file") from error
    counts = not any(_is_mark(statement) for statement in tree.body)
    imports = set(_strip(tree, in_class=False))
    return Meaning(hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(sorted(imports)), counts)


def files_of(package: Path) -> list[tuple[str, Path]]:
    """The files of a package's folder by their names in it, sorted; of a single module's file, that file alone."""
    if package.is_file():
        return [(package.name, package)]
    files = (path for path in package.rglob("*") if path.is_file() and not IGNORED & set(path.parts) and path.suffix != ".pyc")
    return sorted((path.relative_to(package).as_posix(), path) for path in files)


def digest_of(package: Path) -> str:
    """Hash of a package's own files, 64 hexadecimal digits: Python by its meaning, everything else by its bytes."""
    digest = hashlib.sha256()
    for name, file in files_of(package):
        digest.update(name.encode() + b"\0" + read(file).digest.encode() + b"\n")
    return digest.hexdigest()


def is_private(module: str) -> bool:
    """Whether a module never decides an output."""
    return f"{module}.".startswith(f"{PRIVATE}.")


def _strip(node: ast.AST, *, in_class: bool) -> Iterator[str]:
    """Drop docstrings, what is under ``if TYPE_CHECKING``, annotations outside class bodies, and imports of private modules.

    Yields the modules that what is left imports, private ones included. Only statements are visited: no expression holds one.
    """
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not _may_be_read(node):
        node.returns = None
        for argument in ast.walk(node.args):
            if isinstance(argument, ast.arg):
                argument.annotation = None
    elif isinstance(node, ast.AnnAssign) and not in_class:  # a class may be pydantic's or a dataclass, which read them
        node.annotation = ast.Constant(None)
    function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    in_class = isinstance(node, ast.ClassDef) or (in_class and not function)
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        if isinstance(statements := getattr(node, name, None), list):
            kept = [statement for statement in statements if not (_is_text(statement) or _is_for_checkers(statement))]
            public = [ast.Pass() if _is_private_import(statement) else statement for statement in kept]
            setattr(node, name, public or [ast.Pass()] if name == "body" else public)
            for statement in kept:
                yield from _imported(statement)
                yield from _strip(statement, in_class=in_class)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_for_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and not node.orelse and _name_of(node.test) == "TYPE_CHECKING"


def _may_be_read(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(_name_of(decorator) not in _READ_NO_ANNOTATIONS for decorator in node.decorator_list)


def _name_of(node: ast.expr) -> str:
    """The last part of a dotted name, whether called or not."""
    node = node.func if isinstance(node, ast.Call) else node
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is_mark(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Assign)
        and _name_of(node.targets[0]) == MARK
        and isinstance(node.value, ast.Constant)
        and node.value.value is True
    )


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module
        if node.module.split(".")[0] == CORE:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _is_private_import(node: ast.AST) -> bool:
    """Whether it is ``from workbench.lib import commit``: an empty statement in its place lets private modules move."""
    return isinstance(node, ast.ImportFrom) and bool(node.module) and not node.level and is_private(str(node.module))
