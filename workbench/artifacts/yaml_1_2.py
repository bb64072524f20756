"""YAML as DVC reads and writes it: params.yaml, dvc.yaml and dvc.lock are YAML 1.2, and PyYAML by itself reads 1.1.

In 1.2 ``no`` and ``12:30`` are texts and ``1e-5`` is a number. DVC's own reader, ruamel.yaml, takes ten times as long, and every
stage reads dvc.lock several times.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml

DECIDES_NO_OUTPUT = True

MERGE = "tag:yaml.org,2002:merge"
_NO_TEXTS = {
    "tag:yaml.org,2002:null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "tag:yaml.org,2002:bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "tag:yaml.org,2002:int": (r"[-+]?[0-9]+", list("-+0123456789")),
    "tag:yaml.org,2002:float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    MERGE: (r"<<", ["<"]),
}
"""Tag of each type but text that a plain scalar can have → its pattern, and the characters that it may begin with
(https://yaml.org/spec/1.2.2/#103-core-schema)."""


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML's safe loader with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[Any]]] = {}


for _tag, (_pattern, _first) in _NO_TEXTS.items():
    Loader.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern})$"), _first)


def load(text: str | bytes) -> Any:
    """The content of a YAML text.

    Raises:
        yaml.YAMLError: the text is not YAML.
    """
    return yaml.load(text, Loader=Loader)  # noqa: S506 - a safe loader
