"""params.yaml: the plugin, configuration and seed of each stage."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal, cast, get_args

import yaml

from workbench.artifacts import unreadable, yaml_1_2
from workbench.errors import ParamsError
from workbench.hosting.extension import RESERVED
from workbench.kinds.stage import Stage

PARAMS_FILE = Path("params.yaml")


Rerun = Literal["rerun", "warn", "pin"]
"""When its plugins' code changes, a stage reruns, keeps its result with a warning, or keeps it and refuses other code."""
Sections = Mapping[str, type[Stage[Any]]]
"""Section → the kind of its stages, as in :attr:`workbench.hosting.host.Registry.sections`."""


@dataclass(frozen=True)
class Choice:
    """A plugin named in params.yaml with its unchecked configuration."""

    use: str
    config: Mapping[str, Any]
    where: str
    """The key in params.yaml, for messages."""


@dataclass(frozen=True)
class Entry:
    """One stage's entry in params.yaml."""

    address: str
    """Its key, such as ``curate.corpus``; the same in plugins-lock.json."""
    kind: str
    choice: Choice
    seed: int
    others: Mapping[str, Any]
    """The remaining keys: lists of further plugins, and paths read by dvc.yaml."""
    rerun: Rerun = "rerun"


def load(root: Path) -> dict[str, Any]:
    """Read params.yaml below ``root``.

    Raises:
        ParamsError: the file is missing, is not YAML, or holds no sections.
    """
    file = root / PARAMS_FILE
    if not file.is_file():
        raise ParamsError(
            f"{PARAMS_FILE} is missing", str(root.resolve()), "run in the folder that holds dvc.yaml and params.yaml"
        )
    return parse(file.read_bytes())


def parse(text: str | bytes) -> dict[str, Any]:
    """The sections of a text that is the content of params.yaml.

    Raises:
        ParamsError: it is not YAML, or holds no sections.
    """
    try:
        text = text if isinstance(text, str) else text.decode()
        content = yaml_1_2.load_unique(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        what, fix = unreadable.explain(PARAMS_FILE.name, str(text), f"not YAML: {error}", "mend the file")
        raise ParamsError(what, str(PARAMS_FILE), fix) from error
    if not isinstance(content, dict):
        raise ParamsError("it holds no sections", str(PARAMS_FILE), "write sections such as `pretrain: {use: causal}`")
    require_no_date(content, f"{PARAMS_FILE}, key ")
    return content


def require_no_date(content: object, where: str) -> None:
    """Refuse what YAML reads as a date, which no configuration takes and JSON does not have.

    Args:
        content: what was read.
        where: the file, for messages, to which the keys are added.

    Raises:
        ParamsError: names the key.
    """
    if isinstance(content, date):
        raise ParamsError(f"{content} is a date for YAML, not a text", where, f'put it in quotes: "{content}"')
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in inner:
        if isinstance(key, date):
            raise ParamsError(f"the key {key} is a date for YAML, not a text", where.rstrip("."), f'put it in quotes: "{key}"')
        require_no_date(value, f"{where}{key}" if not isinstance(value, dict | list) else f"{where}{key}.")


def entries(params: Mapping[str, Any], sections: Sections) -> list[Entry]:
    """The entries of all sections, in the order of the file.

    Raises:
        ParamsError: a top-level key is unknown; an entry has no ``use:`` or a key or value of the wrong type.
    """
    found = []
    for name in params:
        require_known(name, [*sections, *RESERVED], str(PARAMS_FILE))
    for name, content in params.items():
        if name in RESERVED:
            continue
        section = sections[name]
        for address, value in _addresses(name, content) if section.nested or _is_chain(content) else [(name, content)]:
            found.append(_entry(address, section.kind, value))
    return found


def choice(value: object, where: str) -> Choice:
    """Read ``{use: NAME, with: {…}}``.

    Raises:
        ParamsError: it does not have that form.
    """
    if not isinstance(value, dict) or not isinstance(value.get("use"), str):
        raise ParamsError(
            "no plugin is named", f"{PARAMS_FILE}, key {where}", "write `use: NAME`; `workbench plugins` lists the names"
        )
    config = value.get("with") or {}
    if not isinstance(config, dict):
        raise ParamsError("`with` is not a mapping", f"{PARAMS_FILE}, key {where}.with", "write one `key: value` a line")
    return Choice(value["use"], config, where)


def require_known(key: object, known: Iterable[str], where: str) -> None:
    """Refuse an unknown key, suggesting the closest known one.

    Raises:
        ParamsError: the key is not among the known ones.
    """
    names = list(known)
    if key in names:
        return
    close = difflib.get_close_matches(str(key), names, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"the keys are: {', '.join(names)}"
    raise ParamsError(f"unknown key {key!r}", where, hint)


def _is_chain(content: object) -> bool:
    """Whether a section holds entries under keys of its own, as in ``align: {dpo: {use: dpo}, grpo: {use: grpo}}``."""
    if not isinstance(content, dict) or "use" in content:
        return False
    return any(isinstance(value, dict) and "use" in value for value in content.values())


def _addresses(section: str, content: object) -> list[tuple[str, object]]:
    if not isinstance(content, dict) or not content:
        raise ParamsError("the section holds no entry", f"{PARAMS_FILE}, key {section}", "write one entry per key")
    for key in content:
        if not isinstance(key, str) or not key.replace("-", "").replace("_", "").isalnum():
            raise ParamsError(f"bad key {key!r}", f"{PARAMS_FILE}, key {section}", "use letters, digits, - and _")
    return [(f"{section}.{key}", value) for key, value in content.items()]


def _entry(address: str, kind: str, value: object) -> Entry:
    chosen = choice(value, address)
    assert isinstance(value, dict)
    seed = value.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ParamsError(f"seed is {seed!r}", f"{PARAMS_FILE}, key {address}.seed", "use a whole number from 0 to 4294967295")
    rerun = value.get("rerun", "rerun")
    if rerun not in get_args(Rerun):
        raise ParamsError(f"rerun is {rerun!r}", f"{PARAMS_FILE}, key {address}.rerun", f"use {', '.join(get_args(Rerun))}")
    others = {key: other for key, other in value.items() if key not in {"use", "with", "seed", "rerun"}}
    return Entry(address, kind, chosen, seed, others, cast("Rerun", rerun))
