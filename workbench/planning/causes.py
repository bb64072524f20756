"""Describes what changed since a stage's result was made."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from workbench import redaction
from workbench.project.dvc.replay import Answer, ChangeSinceRun

Parts = Mapping[str, Mapping[str, Any]]
"""Identity of a plugin → what plugins-lock.json said of it under ``installed``: its code, its part of the core, dependencies."""
LONGEST_VALUE = 48
NAMED_MAKERS = 3
_DIGEST = re.compile(r"[0-9a-f]{16,}(\.dir)?")
_PARTS = frozenset({"kind", "use", "config", "seed", "plugins", "external"})
"""Keys of a compared record with a specific meaning; every other key holds a list of further plugins."""
_OUTPUTS = {"deleted": "missing", "modified": "changed by hand", "not in cache": "missing in the cache", "new": "a new output"}


def reasons(changes: Sequence[ChangeSinceRun], answers: Mapping[str, Answer], parts: Parts) -> list[str]:
    """A phrase for each reason, those of the stage itself first.

    Args:
        changes: of one stage.
        answers: those of the stages before it.
        parts: details of the identities that are still known.
    """
    if any(change.kind == "new" for change in changes):
        return ["it has never run"]
    found = [phrase for change in changes if change.kind in ("command", "parameter") for phrase in _own(change, parts)]
    found += [_input(change, answers) for change in changes if change.kind == "input"]
    if not found:  # outputs that are recreated anyway do not matter
        found += _outputs([change for change in changes if change.kind == "output"])
    found += _awaited(list(dict.fromkeys(change.maker for change in changes if change.kind == "awaited")))
    return list(dict.fromkeys(found))


def differences(before: Mapping[str, Any], after: Mapping[str, Any], parts: Parts) -> Iterator[str]:
    """What differs between two compared records of plugins-lock.json; secrets among the values are hidden."""
    yield from _choice(before, after)
    if before.get("seed") != after.get("seed"):
        yield f"seed {_value(before.get('seed'))} → {_value(after.get('seed'))}"
    for key in dict.fromkeys([*before, *after]):
        if key not in _PARTS:
            yield from _members(key, before.get(key) or [], after.get(key) or [])
    yield from _versions(before.get("external") or {}, after.get("external") or {})
    yield from _identities(before.get("plugins") or {}, after.get("plugins") or {}, parts)


def parts_of(locks: Iterable[Mapping[str, Any]]) -> Parts:
    """What these contents of plugins-lock.json say of the code that was installed when they were written."""
    return {
        identity: content["installed"][name]
        for content in locks
        for address, record in _records(content["stages"])
        for name, identity in {**record["plugins"], **content.get("moved", {}).get(address, {}).get("plugins", {})}.items()
        if "code" in content["installed"][name]
    }


def _own(change: ChangeSinceRun, parts: Parts) -> Iterator[str]:
    if change.kind == "command":
        yield from _command(str(change.before), str(change.after))
    elif isinstance(change.before, Mapping) and isinstance(change.after, Mapping) and "use" in change.after:
        yield from differences(change.before, change.after, parts)
    else:
        yield f"{change.name} {_value(change.before)} → {_value(change.after)}"


def _command(before: str, after: str) -> Iterator[str]:
    """The options that differ; the whole command if it is not a workbench command."""
    old, new = _options(before), _options(after)
    differing = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
    if not differing:
        yield "its command in dvc.yaml is written differently"
    for name in differing:
        yield f"command: {name} {old.get(name, 'absent')} → {new.get(name, 'absent')}"


def _options(command: str) -> dict[str, str]:
    words = shlex.split(command)
    first = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
    pairs = dict(zip(words[first::2], words[first + 1 :: 2], strict=False))
    return {"program": shlex.join(words[:first]), **pairs}


def _choice(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    if before.get("use") != after.get("use"):
        yield f"plugin {before.get('use')} → {after.get('use')}"
    else:
        yield from _config(before.get("config") or {}, after.get("config") or {})


def _config(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key in dict.fromkeys([*before, *after]):
        old, new, name = before.get(key), after.get(key), f"{prefix}{key}"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _config(old, new, f"{name}.")
        elif old != new and isinstance(old, list) and isinstance(new, list):
            yield f"{name} {_list_change(old, new, key)}"
        elif old != new:
            yield f"{name} {_value(old, key)} → {_value(new, key)}"


def _list_change(old: list[Any], new: list[Any], name: str = "") -> str:
    added = [f"+{_value(item, name)}" for item in new if item not in old]
    removed = [f"−{_value(item, name)}" for item in old if item not in new]
    return ", ".join([*added, *removed]) or "in another order"


def _members(key: str, before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    old, new = [item["use"] for item in before], [item["use"] for item in after]
    if old != new:
        yield f"{key}: {_list_change(old, new)}"
        return
    for name, former, latter in zip(old, before, after, strict=True):
        yield from (f"{name}: {phrase}" for phrase in _config(former["config"], latter["config"]))


def _versions(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name, "absent"), after.get(name, "absent")
        if old != new:
            digests = _DIGEST.fullmatch(old) and _DIGEST.fullmatch(new)
            yield f"{name} changed" if digests else f"{name} {_value(old)} → {_value(new)}"


def _identities(before: Mapping[str, str], after: Mapping[str, str], parts: Parts) -> Iterator[str]:
    """What changed in the plugins that the stage used and still uses."""
    moved = [name for name in after if name in before and before[name] != after[name]]
    unknown = [name for name in moved if before[name] not in parts or after[name] not in parts]
    if unknown:
        yield f"the code of {', '.join(unknown)}, of the core or of a dependency changed"
    for name in moved:
        if name in unknown:
            continue
        old, new = parts[before[name]], parts[after[name]]
        if old["code"] != new["code"]:
            yield f"the code of {name} changed"
        if old["core"] != new["core"]:
            yield f"the core's part of {name} changed"
        yield from _versions(old["dependencies"], new["dependencies"])


def _input(change: ChangeSinceRun, answers: Mapping[str, Answer]) -> str:
    if change.after == "missing":
        return f"{change.name} is missing"
    if change.after == "new":
        return f"{change.name} is a new input"
    if answers.get(change.maker) is Answer.RESTORED:
        return f"{change.name} changes: {change.maker} comes from the cache"
    return f"{change.name} changed" + (f": {change.maker} has made it anew" if change.maker else "")


def _awaited(makers: Sequence[str]) -> list[str]:
    if not makers:
        return []
    more = f" and {len(makers) - NAMED_MAKERS} more" if len(makers) > NAMED_MAKERS else ""
    return [f"{', '.join(makers[:NAMED_MAKERS])}{more} may change what it reads"]


def _outputs(changes: Sequence[ChangeSinceRun]) -> list[str]:
    by_state: dict[str, list[str]] = {}
    for change in changes:
        by_state.setdefault(_OUTPUTS.get(str(change.after), str(change.after)), []).append(change.name)
    return [f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} {state}" for state, names in by_state.items()]


def _value(value: Any, name: str = "") -> str:
    """A value, shortened and with secrets hidden."""
    whole = value if isinstance(value, str) else f"{value:.15g}" if isinstance(value, float) else json.dumps(value)
    text = redaction.param(name, whole)
    half = LONGEST_VALUE // 2
    return text if len(text) <= LONGEST_VALUE else f"{text[:half]}…{text[1 - half :]}"  # long paths differ at their ends


def _records(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Address → compared record."""
    for key, value in tree.items():
        if "use" in value and "plugins" in value:
            yield f"{prefix}{key}", value
        else:
            yield from _records(value, f"{prefix}{key}.")
