"""Keeps credentials out of every record: the journal and its files, and so out of the trackers' stores.

What is hidden: the values of environment variables whose names say that they are secret, wherever they occur; values of
configuration under such names; credentials in URLs and headers; access tokens of well-known kinds; private keys. A word such as
``pad_token`` or ``max_tokens`` does not name a secret in machine learning, and its value stays.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

DECIDES_NO_OUTPUT = True

HIDDEN = "(redacted)"
SHORTEST = 8
"""Length of the shortest value that is hidden wherever it occurs; shorter ones occur in ordinary text."""
STRUCTURED = frozenset({".yaml", ".yml", ".json", ".lock"})
"""Suffixes of files in which keys name the values."""
_SECRET_VARIABLE = re.compile(
    r"(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|KEY|(?<![A-Z])(PASS|AUTH|PAT)|(?<=_)PWD)S?(?=_|\d|$)", re.IGNORECASE
)
_AUTHORITY = (
    "access|api|app|auth|bearer|bot|client|csrf|deploy|github|gitlab|hf|hub|huggingface|id|identity|job|jwt|login|oauth|openai|"
    "private|refresh|registry|secret|security|service|session|slack|studio|tracking|user|wandb"
)
_SECRET_NAME = re.compile(
    r"(password|passwd|passphrase|secret|credential)s?$"
    rf"|(^|\W)token$|(^|[\W_])({_AUTHORITY})_?token$"
    r"|(^|[\W_])(access|account|api|auth|deploy|encryption|license|private|secret|service|signing|ssh)_?key(_?id)?$"
    r"|(^|[\W_])(authorization|connection_?string)$",
    re.IGNORECASE,
)
_SECRET_CONSTANT = re.compile(r"[A-Z0-9_]+_TOKEN")
_NAMED_SO = re.compile(r"(?:token|secret|password|passwd|passphrase|credential|key)s?$", re.IGNORECASE)
_KNOWN_KIND = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|sk-(?=[\w-]*\d)[\w-]{20,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}|xox[abeoprs]-[\w-]{10,}|AIza[\w-]{35}|npm_[A-Za-z0-9]{36}|dckr_pat_[\w-]{20,}|pypi-AgE[\w-]{20,}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
_URL_CREDENTIALS = re.compile(r"(?<=https://)(?:[^/\s@?#{}$<>\"'\\]+@)+|(?<=://)(?:[^/\s@:?#{}$<>\"'\\]*:[^/\s@?#{}$<>\"'\\]+@)+")
_HEADER = re.compile(r"\b(bearer|basic)(\s+)(?=[\w.~+/=-]*\d)[\w.~+/=-]{12,}", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"(?P<name>token|secrets?|password|passwd|passphrase|credentials?|key(?:_?id)?|authorization)"
    r"(?P<mark>[\"']?[ \t]?[:=][ \t]?)(?P<value>\"[^\"\n]*\"|'[^'\n]*'|[^\s\"'`<>()\[\]{},;]+)",
    re.IGNORECASE,
)
_LEFT = re.compile(r"[\w.-]{0,64}$")
_ORDINARY = re.compile(r"|null|none|true|false|~|[-+\d._e]+|[-<\[\]{($%*/].*|str|bytes|int|bool|bearer|basic", re.IGNORECASE)
_SHAPED = re.compile(r"(?=.*(?:\d|[a-z][A-Z]|[-+=/!@#$%^&*]))\S{6,}")


@dataclass(frozen=True)
class Redactor:
    """Hides what looks like a secret, and the secrets that it knows."""

    values: tuple[str, ...] = ()
    """Texts hidden wherever they occur, longest first."""

    def knowing(self, values: Iterable[str]) -> Redactor:
        """A redactor that knows more secrets; those that could be ordinary words are left out."""
        known = {*self.values, *(form for value in values if _is_unmistakable(value) for form in (value, quote(value, safe="")))}
        return Redactor(tuple(sorted(known, key=lambda value: (-len(value), value))))

    def knowing_those_of(self, record: object) -> Redactor:
        """A redactor that also knows the secrets in a configuration, which error messages often repeat."""
        return self.knowing(value for name, value in _leaves(record) if isinstance(value, str) and is_secret(name, value))

    def text(self, value: str) -> str:
        """A text for people: messages, tracebacks, Markdown."""
        return _ASSIGNED.sub(_hide_assigned, self._plain(value))

    def source(self, value: str) -> str:
        """Source code, where every change counts: only quoted literals and unmistakable secrets are hidden."""
        return _ASSIGNED.sub(_hide_literal, self._plain(value))

    def param(self, name: str, value: str) -> str:
        """A parameter's value, hidden when its name says that it is a secret."""
        return HIDDEN if is_secret(name, value) else self.text(value)

    def tree(self, value: object, name: str = "") -> Any:
        """A configuration with every secret hidden, at any depth; whether a value is one depends on its key too."""
        if isinstance(value, Mapping):
            return {key: self.tree(inner, str(key)) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.tree(item, name) for item in value]
        if isinstance(value, str):
            return self.param(name, value)
        return HIDDEN if isinstance(value, int | float) and not isinstance(value, bool) and is_secret(name, str(value)) else value

    def strings(self, value: object) -> Any:
        """A record whose keys say nothing about its values, such as a table: every text in it is checked."""
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.strings(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.strings(item) for item in value]
        return self.text(value) if isinstance(value, str) else value

    def command(self, line: str) -> str:
        """A command line: ``--password WORD``, ``name=WORD`` and ``-S some.password=WORD`` name their values."""
        try:
            words = shlex.split(line)
        except ValueError:
            return self.text(line)
        hidden = [self._word(word, before) for word, before in zip(words, ["", *words], strict=False)]
        return line if hidden == words else shlex.join(hidden)

    def file(self, name: str, content: str) -> str:
        """A file's content, treated according to its suffix. YAML and JSON stay readable."""
        if Path(name).suffix not in STRUCTURED:
            return (self.source if Path(name).suffix == ".py" else self.text)(content)
        try:
            whole = _parse(name, content)
        except (ValueError, RecursionError, yaml.YAMLError):
            return self.text(content)
        hidden = self.tree(whole)
        found = dict(_differences(whole, hidden))
        for secret in sorted(found, key=len, reverse=True):
            content = content.replace(secret, found[secret])
        lines = content.splitlines(keepends=True)
        content = "".join(self.text(line) if line.lstrip().startswith("#") else line for line in lines)
        return content if _reads_as(name, content, hidden) else _written(name, hidden)

    def _plain(self, value: str) -> str:
        for secret in self.values:
            value = value.replace(secret, HIDDEN)
        value = _URL_CREDENTIALS.sub("", value)
        value = _KNOWN_KIND.sub(HIDDEN, value)
        return _HEADER.sub(rf"\1\2{HIDDEN}", value)

    def _word(self, word: str, before: str) -> str:
        name, mark, value = word.partition("=")
        if mark:
            return f"{self.text(name)}={self.param(name, value)}"
        return self.param(before, word) if before.startswith("--") and not word.startswith("-") else self.text(word)


def of_environment() -> Redactor:
    """A redactor that knows the secrets among this process's environment variables."""
    named = [value for name, value in os.environ.items() if _SECRET_VARIABLE.search(name) and not _is_path(value)]
    in_urls = [match[1] for value in os.environ.values() for match in re.finditer(r"://[^/\s:@]*:([^/\s@]+)@", value)]
    return Redactor().knowing([*named, *in_urls])


def is_secret(name: str, value: str) -> bool:
    """Whether a parameter of this name holds a secret rather than an ordinary token such as ``<|end|>``."""
    spelt = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).replace("-", "_")
    if _SECRET_NAME.search(spelt) or _SECRET_CONSTANT.fullmatch(name):
        is_number = re.fullmatch(r"[-+\d._e]+", value) is not None
        return not _ORDINARY.fullmatch(value) or (is_number and len(value) >= SHORTEST)
    return False


def text(value: str) -> str:
    """See :meth:`Redactor.text`."""
    return of_environment().text(value)


def param(name: str, value: str) -> str:
    """See :meth:`Redactor.param`."""
    return of_environment().param(name, value)


def tree(value: object) -> Any:
    """See :meth:`Redactor.tree`."""
    return of_environment().tree(value)


def file(name: str, content: bytes) -> bytes:
    """See :meth:`Redactor.file`; bytes that are not UTF-8 stay."""
    return of_environment().file(name, content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _is_unmistakable(value: str) -> bool:
    """Whether a value is hidden wherever it occurs; hiding a plain word or number would remove harmless text."""
    if len(value) < SHORTEST or _ORDINARY.fullmatch(value) or value == HIDDEN:
        return False
    return not value.isalpha() or len(value) >= 2 * SHORTEST or not (value.islower() or value.istitle() or value.isupper())


def _is_path(value: str) -> bool:
    return value.startswith("/") and Path(value).exists()


def _hide_assigned(match: re.Match[str]) -> str:
    value = match["value"].strip("\"'")
    is_tight = match["mark"] == "=" or match["value"][0] in "\"'"
    return _hidden(match) if is_tight or _SHAPED.fullmatch(value) else match[0]


def _hide_literal(match: re.Match[str]) -> str:
    is_literal = match["value"][0] in "\"'"
    return _hidden(match) if is_literal and _SHAPED.fullmatch(match["value"][1:-1]) else match[0]


def _hidden(match: re.Match[str]) -> str:
    left = _LEFT.search(match.string, max(0, match.start() - 64), match.start())
    name = (left[0] if left else "") + match["name"]
    quoted = match["value"][0] if match["value"][0] in "\"'" else ""
    value = match["value"].strip("\"'") if quoted else match["value"]
    is_code = not quoted and (match.string[match.end() : match.end() + 1] in ("(", "[") or _NAMED_SO.search(value))
    if is_code or not is_secret(name, value):
        return match[0]
    return f"{match['name']}{match['mark']}{quoted}{HIDDEN}{quoted}"


def _leaves(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item, name)
    else:
        yield name, value


def _differences(whole: object, hidden: object) -> Iterator[tuple[str, str]]:
    for (_, before), (_, after) in zip(_leaves(whole), _leaves(hidden), strict=True):
        if before != after and isinstance(before, str) and len(before) >= SHORTEST:
            yield before, str(after)


def _parse(name: str, content: str) -> object:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return json.loads(content) if name.endswith(".json") else yaml.load(content, Loader=loader)  # noqa: S506 - a safe loader


def _reads_as(name: str, content: str, wanted: object) -> bool:
    try:
        return _parse(name, content) == wanted
    except (ValueError, RecursionError, yaml.YAMLError):
        return False


def _written(name: str, content: object) -> str:
    if name.endswith(".json"):
        return json.dumps(content, indent=1) + "\n"
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
