"""YAML as DVC reads and writes it: params.yaml, dvc.yaml and dvc.lock are YAML 1.2, and PyYAML by itself reads 1.1.

In 1.2 ``no`` and ``12:30`` are texts, ``1e-5`` is a number and ``010`` is ten. DVC's own reader, ruamel.yaml, takes ten times as
long, and every stage reads dvc.lock several times. Where ruamel.yaml departs from the standard, as in ``1_000``, this follows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from typing import Any, ClassVar

import yaml

DECIDES_NO_OUTPUT = True

MERGE = "tag:yaml.org,2002:merge"
_TAG = "tag:yaml.org,2002:"
_DIGITS = list("0123456789")
_NO_TEXTS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "float": (
        r"[-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+|[-+]?\.[0-9_]+([eE][-+][0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        ["-", "+", ".", *_DIGITS],
    ),
    "int": (r"[-+]?0b[01_]+|[-+]?0o[0-7_]+|[-+]?[0-9_]+|[-+]?0x[0-9a-fA-F_]+", ["-", "+", *_DIGITS]),
    "timestamp": (
        r"[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(\.[0-9]*)?"
        r"([ \t]*(Z|[-+][0-9]{1,2}(:[0-9]{2})?))?",
        _DIGITS,
    ),
    "value": (r"=", ["="]),
    "merge": (r"<<", ["<"]),
}
"""Type of a plain scalar that is no text → its pattern, and the characters that it may begin with, as ruamel.yaml has them for
version 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema)."""
_BASES = {"0b": 2, "0o": 8, "0x": 16}


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's safe loader with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[Any]]] = {}


class UniqueKeyLoader(Loader):
    """Refuses keys that are written twice, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node."""
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == MERGE:
                continue  # `<<: *anchor`: keys written beside it take precedence over the merged ones
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                break  # an error of the loader's own
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is written twice", key_node.start_mark)
            seen.add(key)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def load(text: str | bytes) -> Any:
    """The content of a YAML text.

    Raises:
        yaml.YAMLError: the text is not YAML.
    """
    return yaml.load(text, Loader=Loader)  # noqa: S506 - a safe loader


def load_unique(text: str | bytes) -> Any:
    """The content of a YAML text in which no key is written twice.

    Raises:
        yaml.YAMLError: one is, or the text is not YAML.
    """
    return yaml.load(text, Loader=UniqueKeyLoader)  # noqa: S506 - the same


def _int(text: str) -> int:
    sign, digits = (-1 if text.startswith("-") else 1), text.lstrip("+-")
    base = _BASES.get(digits[:2])
    return sign * (int(digits[2:], base) if base else int(digits))


def _float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _number(read: Callable[[str], float]) -> Callable[[Loader, yaml.ScalarNode], float]:
    """A constructor of numbers, in which underscores separate digits."""

    def construct(_: Loader, node: yaml.ScalarNode) -> float:
        try:
            return read(node.value.replace("_", ""))
        except ValueError as error:  # as in `+_`
            raise yaml.constructor.ConstructorError(None, None, f"no number: {node.value!r}", node.start_mark) from error

    return construct


for _name, (_pattern, _first) in _NO_TEXTS.items():
    Loader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(f"(?:{_pattern})$"), _first)
Loader.add_constructor(f"{_TAG}int", _number(_int))
Loader.add_constructor(f"{_TAG}float", _number(_float))
