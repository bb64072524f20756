"""A configuration for params.yaml: every key of a plugin, with what is set, what may be kept of another one, and the defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import ValidationError

from workbench.artifacts import yaml_1_2
from workbench.catalog import example
from workbench.errors import ParamsError
from workbench.plugin import Plugin
from workbench.project.params import require_known, require_no_date

Settings = Mapping[str, Any]
"""Key, with dots where it lies in a section → value."""


@dataclass(frozen=True)
class Configuration:
    """The values of every key."""

    values: dict[str, Any]
    kept: frozenset[str]
    """The keys whose values are those of the former configuration."""

    def kept_value(self, key: str) -> Any:
        """The value that stays; None if it is another now."""
        return self.values[key] if key in self.kept else None


def parse_settings(words: Sequence[str]) -> dict[str, Any]:
    """Read ``KEY=VALUE`` words, whose values are YAML.

    Raises:
        ParamsError: a word is not of that form.
    """
    found = {}
    for word in words:
        key, equals, text = word.partition("=")
        try:
            found[key] = yaml_1_2.load_unique(text)
        except yaml.YAMLError as error:
            raise ParamsError(
                f"{text!r} is not YAML", f"--set {word}", "quote it, as in --set 'template=\"{problem} =\"'"
            ) from error
        require_no_date(found[key], f"--set {key}")
        if not key or not equals:
            raise ParamsError("it is not KEY=VALUE", f"--set {word}", "write, for example, --set path=/data/my-texts")
    return found


def complete(plugin: type[Plugin[Any]], where: str, former: Mapping[str, Any], settings: Settings) -> Configuration:
    """Every key of a plugin's configuration.

    Args:
        plugin: whose configuration it is.
        where: the key of params.yaml, for messages.
        former: values that are kept where the plugin has the key and takes the value.
        settings: values that go before these and the defaults.

    Raises:
        ParamsError: a key that has no default is given no value, or a key that is set is unknown.
    """
    fields = plugin.Config.model_fields
    for key in settings:
        require_known(key.partition(".")[0], fields, f"--set {key}, of the {plugin.kind} {plugin.name!r}")
    usable = {key: value for key, value in former.items() if key in fields and key not in settings}
    required = [key for key, field in fields.items() if field.is_required()]
    if lacking := [key for key in required if key not in usable and key not in {word.partition(".")[0] for word in settings}]:
        what = f"{plugin.kind} {plugin.name!r} needs a value for {', '.join(lacking)}"
        meaning = " ".join((fields[lacking[0]].description or "").split())
        raise ParamsError(what, f"{where}.with", f"add --set {lacking[0]}=VALUE; {lacking[0]}: {meaning}")
    defaults = {key: value for key, value in example.of_config(plugin.Config).items() if key not in required}
    kept = _valid(plugin, defaults, usable, settings)
    values = {key: kept[key] if key in kept else defaults.get(key) for key in fields}
    made = _with(values, settings)
    return Configuration(made, frozenset(key for key in kept if made[key] == kept[key]))


def _valid(
    plugin: type[Plugin[Any]], defaults: Mapping[str, Any], former: Mapping[str, Any], settings: Settings
) -> dict[str, Any]:
    """What of the former values the plugin takes: all of them, or as many as fit together."""
    if _is_valid(plugin, _with({**defaults, **former}, settings)):
        return dict(former)
    kept: dict[str, Any] = {}
    for key, value in former.items():
        required = {name: former[name] for name in former if plugin.Config.model_fields[name].is_required()}
        if key in required or _is_valid(plugin, _with({**defaults, **required, **kept, key: value}, settings)):
            kept[key] = value
    return kept


def _is_valid(plugin: type[Plugin[Any]], values: Mapping[str, Any]) -> bool:
    try:
        plugin.Config.model_validate(dict(values))
    except ValidationError:
        return False
    return True


def _with(values: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The values with those that are set; sections on the way are made where there is none."""
    found = deepcopy(dict(values))
    for key, value in settings.items():
        *parents, last = key.split(".")
        place = found
        for part in parents:
            if not isinstance(place.get(part), dict):
                place[part] = {}
            place = place[part]
        place[last] = value
    return found
