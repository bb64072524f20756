"""Reading one Python file by its syntax tree: documented objects, and what the module imports and exports."""

from __future__ import annotations

import ast
import inspect
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MAX_BYTES = 4_000_000
MAX_DEFAULT = 20
MAX_SIGNATURE = 300
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_PLACEHOLDER_LINE = re.compile(r"^[ \t]*\{\w+\}[ \t]*\n?", re.MULTILINE)

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Entry:
    """A documented object as its file defines it."""

    module: str
    """The module that the docstring belongs to."""
    qualname: str
    """Name within the module, such as ``DataFrame.merge``; empty for the module itself."""
    kind: str
    """module, class, function or method."""
    arguments: str
    """The parameter list with its parentheses; empty where there is none."""
    doc: str
    """The cleaned docstring."""


@dataclass(frozen=True, slots=True)
class Import:
    """``from module import original as name``."""

    name: str
    module: str
    original: str


@dataclass
class Module:
    """What one file says."""

    name: str
    is_package: bool
    entries: list[Entry] = field(default_factory=list)
    defined: list[str] = field(default_factory=list)
    """Top-level classes and functions, documented or not."""
    imports: list[Import] = field(default_factory=list)
    stars: list[str] = field(default_factory=list)
    """Modules that the file imports everything from."""
    exported: list[str] | None = None
    """The literal ``__all__``, or None if there is none that can be read."""
    skipped: list[str] = field(default_factory=list)
    """Reasons for which the file, or an object in it, can't be used."""


def read_module(path: Path, name: str, is_package: bool) -> Module:
    """Read one file without importing it. A file that can't be read gives a module with a reason in ``skipped``."""
    module = Module(name, is_package)
    try:
        source = path.read_bytes()
        if len(source) > MAX_BYTES:
            module.skipped.append("file too large")
        elif is_package or b'"""' in source or b"'''" in source or b"__all__" in source:
            _Reader(module).read(_parse(source))
    except OSError:
        module.skipped.append("file unreadable")
    except (SyntaxError, ValueError) as error:
        module.skipped.append(_reason(error))
    except (RecursionError, MemoryError):
        module.skipped.append("nested too deeply")
    return module


def _parse(source: bytes) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a stranger's invalid escape is not the user's concern
        return ast.parse(source)


def _reason(error: SyntaxError | ValueError) -> str:
    text = str(error)
    if "null byte" in text:
        return "null bytes"
    if "codec" in text or "encoding" in text or "unicode error" in text:
        return "bad encoding"
    return "syntax error"


class _Reader:
    """Fills a :class:`Module` from a syntax tree; looks into classes and conditional blocks, not into functions."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.parent = module.name if module.is_package else module.name.rpartition(".")[0]
        self.readable_all = True

    def read(self, tree: ast.Module) -> None:
        self._document(self.module.name, "", "module", "", tree)
        for node in _statements(tree.body):
            self._top_level(node)
        if not self.readable_all:
            self.module.exported = None

    def _top_level(self, node: ast.stmt) -> None:
        if isinstance(node, ast.ClassDef | Function):
            self.module.defined.append(node.name)
            self._definition(node, "")
        elif isinstance(node, ast.ImportFrom):
            self._import(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            self._assignment(node)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            self._call(node.value)

    def _definition(self, node: ast.ClassDef | Function, scope: str) -> None:
        qualname = f"{scope}.{node.name}" if scope else node.name
        if isinstance(node, ast.ClassDef):
            self._document(self.module.name, qualname, "class", _constructor(node), node)
            for child in _statements(node.body):
                if isinstance(child, ast.ClassDef | Function):
                    self._definition(child, qualname)
        else:
            kind = "method" if scope else "function"
            self._document(self.module.name, qualname, kind, _arguments(node, method=bool(scope)), node)

    def _document(
        self, module: str, qualname: str, kind: str, arguments: str, node: ast.Module | ast.ClassDef | Function
    ) -> None:
        doc = ast.get_docstring(node, clean=False)
        if doc:
            self._add(module, qualname, kind, arguments, doc)

    def _add(self, module: str, qualname: str, kind: str, arguments: str, doc: str) -> None:
        text = clean(doc)
        if not text:
            return
        if not _encodable(text):
            self.module.skipped.append("lone surrogates")
            return
        leading, text = split_signature(text, qualname.rpartition(".")[2])
        if text:
            self.module.entries.append(Entry(module, qualname, kind, arguments or leading, text))

    def _import(self, node: ast.ImportFrom) -> None:
        source = self._absolute(node)
        for alias in node.names:
            if alias.name == "*":
                self.module.stars.append(source)
            else:
                self.module.imports.append(Import(alias.asname or alias.name, source, alias.name))

    def _absolute(self, node: ast.ImportFrom) -> str:
        if node.level == 0:
            return node.module or ""
        base = self.parent
        for _ in range(node.level - 1):
            base = base.rpartition(".")[0]
        return f"{base}.{node.module}" if node.module else base

    def _assignment(self, node: ast.Assign | ast.AnnAssign | ast.AugAssign) -> None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if node.value is not None and any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            self._export(node.value)

    def _export(self, value: ast.expr) -> None:
        if isinstance(value, ast.List | ast.Tuple):
            names = [item.value for item in value.elts if isinstance(item, ast.Constant) and isinstance(item.value, str)]
            self.module.exported = (self.module.exported or []) + names
        else:
            self.readable_all = False

    def _call(self, call: ast.Call) -> None:
        """``__all__.extend(...)``, and the two helpers that attach docstrings to compiled objects."""
        if isinstance(call.func, ast.Attribute):
            if isinstance(call.func.value, ast.Name) and call.func.value.id == "__all__" and call.args:
                self._export(call.args[0])
        elif isinstance(call.func, ast.Name) and call.func.id == "add_newdoc" and len(call.args) == 3:
            self._newdoc(call.args[0], call.args[1], call.args[2])
        elif isinstance(call.func, ast.Name) and call.func.id == "add_docstr" and len(call.args) == 2:
            path = _dotted(call.args[0])
            if path.count(".") >= 1:
                self._attach(path.rpartition(".")[0], path.rpartition(".")[2], "function", call.args[1])

    def _newdoc(self, place: ast.expr, name: ast.expr, doc: ast.expr) -> None:
        """numpy's ``add_newdoc(module, object, doc)`` or ``add_newdoc(module, class, (method, doc))``."""
        module, qualname = _string(place), _string(name)
        if not module or not qualname:
            return
        if isinstance(doc, ast.Tuple) and len(doc.elts) == 2:
            method = _string(doc.elts[0])
            if method:
                self._attach(module, f"{qualname}.{method}", "method", doc.elts[1])
        else:
            self._attach(module, qualname, "function", doc)

    def _attach(self, module: str, qualname: str, kind: str, doc: ast.expr) -> None:
        text = _string(doc)
        if text:
            self._add(module, qualname, kind, "", text)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a scope, those of conditional blocks included."""
    for node in body:
        if isinstance(node, ast.If):
            yield from _statements(node.body + node.orelse)
        elif isinstance(node, ast.Try):
            handlers = [statement for handler in node.handlers for statement in handler.body]
            yield from _statements(node.body + handlers + node.orelse + node.finalbody)
        elif isinstance(node, ast.With):
            yield from _statements(node.body)
        else:
            yield node


def clean(doc: str) -> str:
    """A docstring without indentation, control characters and trailing spaces."""
    text = _CONTROL.sub("", inspect.cleandoc(doc))
    return "\n".join(line.rstrip() for line in text.split("\n")).strip()


def split_signature(doc: str, name: str) -> tuple[str, str]:
    """Take leading ``name(arguments) -> result`` lines off a docstring; returns the first argument list and the rest."""
    arguments, rest = "", doc
    while name and rest.startswith(f"{name}("):
        end = _closing(rest, len(name))
        after, _, following = rest[end:].partition("\n")
        if not end or (after and not after.startswith(" ->")):
            break
        arguments = arguments or " ".join(rest[len(name) : end].split()).replace("( ", "(").replace(", )", ")")
        rest = following.removeprefix("--\n").strip()
    return (arguments if len(arguments) <= MAX_SIGNATURE else "(...)"), rest


def _closing(text: str, start: int) -> int:
    """Position after the parenthesis that closes the one at ``start``; 0 if there is none."""
    depth = 0
    for position in range(start, min(len(text), start + 10 * MAX_SIGNATURE)):
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        if depth == 0:
            return position + 1
    return 0


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _string(node: ast.expr) -> str:
    """The value of a string literal, of a sum of them, or of a template whose placeholder lines are left out; else empty."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _string(node.left), _string(node.right)
        return left + right if left and right else ""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        template = _PLACEHOLDER_LINE.sub("", _string(node.func.value))
        return template.replace("{{", "{").replace("}}", "}")
    return ""


def _dotted(node: ast.expr) -> str:
    """``a.b.c`` of an attribute chain; empty for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def _constructor(node: ast.ClassDef) -> str:
    for child in node.body:
        if isinstance(child, ast.FunctionDef) and child.name == "__init__":
            return _arguments(child, method=True)
    return ""


def _arguments(node: Function, method: bool) -> str:
    """The parameter list as a reader writes it: defaults without annotations, no ``self``."""
    if any(_dotted(decorator).rpartition(".")[2] in {"property", "cached_property"} for decorator in node.decorator_list):
        return ""
    static = any(_dotted(decorator) == "staticmethod" for decorator in node.decorator_list)
    parts = _parameters(node.args)
    if method and not static and parts:
        parts = parts[2:] if len(parts) > 1 and parts[1] == "/" else parts[1:]
    text = f"({', '.join(parts)})"
    return text if len(text) <= MAX_SIGNATURE else "(...)"


def _parameters(args: ast.arguments) -> list[str]:
    positional = [*args.posonlyargs, *args.args]
    defaults: list[ast.expr | None] = [*[None] * (len(positional) - len(args.defaults)), *args.defaults]
    parts = [_parameter(arg.arg, default) for arg, default in zip(positional, defaults, strict=True)]
    if args.posonlyargs:
        parts.insert(len(args.posonlyargs), "/")
    if args.vararg:
        parts.append(f"*{args.vararg.arg}")
    elif args.kwonlyargs:
        parts.append("*")
    parts += [_parameter(arg.arg, default) for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    if args.kwarg:
        parts.append(f"**{args.kwarg.arg}")
    return parts


def _parameter(name: str, default: ast.expr | None) -> str:
    return name if default is None else f"{name}={_default(default)}"


def _default(node: ast.expr) -> str:
    """A short default as written; ``...`` for one that needs more than a literal or a name."""
    text = ""
    if isinstance(node, ast.Constant):
        text = repr(node.value)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        text = f"-{node.operand.value!r}"
    elif isinstance(node, ast.Tuple | ast.List) and not node.elts:
        text = "()" if isinstance(node, ast.Tuple) else "[]"
    else:
        text = _dotted(node)
    return text if text and len(text) <= MAX_DEFAULT and text.isprintable() else "..."
