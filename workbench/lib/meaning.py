"""The meaning of a file: a hash of what Python executes, and the modules it imports.

Comments, docstrings, layout and types that only a checker reads do not change what runs, so they do not count.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
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
        *("abstractmethod", "cache", "cached_property", "classmethod", "contextmanager", "dataclass", "final", "hookimpl"),
        *("lru_cache", "override", "property", "runtime_checkable", "setter", "staticmethod", "total_ordering"),
    }
)
"""Decorators that leave annotations alone. Any other may read them, as functools.singledispatch and pydantic's do."""
_READ_ANNOTATIONS = frozenset(
    {
        *("__annotations__", "get_annotations", "get_type_hints", "getfullargspec", "signature"),
        *("singledispatch", "singledispatchmethod", "validate_call"),
    }
)
"""Names by which a module may read the annotations of any function; where it has one, all its annotations count."""
_READ_DOCSTRINGS = frozenset({"__doc__", "getdoc"})
"""Likewise, of docstrings."""


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
    names = {_name_in(node) for node in ast.walk(tree)}
    imports = set(_strip(tree, _Kept(bool(names & _READ_ANNOTATIONS), bool(names & _READ_DOCSTRINGS))))
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


def package_of(module: str) -> Path | None:
    """Location of a top-level module, which is not imported: a package's folder or a file; None if there is no source of it."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin)
    return file.parent if file.name == "__init__.py" else file


def family_of(modules: Iterable[str]) -> set[str]:
    """The packages ``workbench_…`` that top-level modules import, directly or through one another, without themselves."""
    given = set(modules)
    pending, found = sorted(given), set[str]()
    while pending:
        package = package_of(pending.pop())
        files = [file for _, file in files_of(package) if file.suffix == ".py"] if package else []
        imported = {name.split(".")[0] for file in files for name in read(file).imports}
        new = {name for name in imported if name.startswith(FAMILY) and package_of(name)} - found - given
        found |= new
        pending += sorted(new)
    return found


def is_private(module: str) -> bool:
    """Whether a module never decides an output."""
    return f"{module}.".startswith(f"{PRIVATE}.")


@dataclass(frozen=True)
class _Kept:
    """What counts although Python does not execute it."""

    signatures: bool
    """The annotations of functions."""
    docstrings: bool
    variables: bool = False
    """Annotations of variables, as everywhere in a class body: it may be pydantic's or a dataclass, which read them."""


def _strip(node: ast.AST, kept: _Kept) -> Iterator[str]:
    """Drop docstrings, what is under ``if TYPE_CHECKING``, annotations outside class bodies, and imports of private modules.

    Yields the modules that what is left imports, private ones included. Only statements are visited: no expression holds one.
    """
    kept = _strip_annotations(node, kept)
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        if isinstance(statements := getattr(node, name, None), list):
            if not kept.docstrings:
                statements = [statement for statement in statements if not _is_text(statement)]
            running = [statement for statement in statements if not _is_for_checkers(statement)]
            public = [ast.Pass() if _is_private_import(statement) else statement for statement in running]
            setattr(node, name, public or [ast.Pass()] if name == "body" else public)
            for statement in running:
                yield from _imported(statement)
                yield from _strip(statement, kept)


def _strip_annotations(node: ast.AST, kept: _Kept) -> _Kept:
    """Drop a node's own annotations; returns what counts in its body."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        if not (kept.signatures or _may_be_read(node)):
            node.returns = None
            for argument in ast.walk(node.args):
                if isinstance(argument, ast.arg):
                    argument.annotation = None
        return replace(kept, variables=False)
    if isinstance(node, ast.ClassDef):
        return replace(kept, variables=True, signatures=kept.signatures or _may_be_read(node))
    if isinstance(node, ast.AnnAssign) and not kept.variables:
        node.annotation = ast.Constant(None)
    return kept


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_for_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and not node.orelse and _name_of(node.test) == "TYPE_CHECKING"


def _may_be_read(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    """Whether a decorator may read the annotations of a function, or of the methods of a class."""
    return any(_name_of(decorator) not in _READ_NO_ANNOTATIONS for decorator in node.decorator_list)


def _name_of(node: ast.expr) -> str:
    """The last part of a dotted name, whether called or not."""
    node = node.func if isinstance(node, ast.Call) else node
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _name_in(node: ast.AST) -> str:
    """The name that a node of any kind uses or imports."""
    return str(getattr(node, {ast.Name: "id", ast.Attribute: "attr", ast.alias: "name"}.get(type(node), ""), ""))


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
