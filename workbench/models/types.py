"""Model types provided by plugins, registered with transformers only when a model of such a type is made or loaded.

A distribution names a function by an entry point whose key is the ``model_type``; it registers the type's classes with the
Auto classes of transformers::

    [project.entry-points."workbench.model_types"]
    ngram = "workbench_pretrain_ngram.modeling:register"
"""

from __future__ import annotations

import difflib
from importlib import metadata

from workbench.errors import PluginError
from workbench.lib import meaning

GROUP = "workbench.model_types"


def register(model_type: str, where: str) -> None:
    """Register a type with the Auto classes of transformers.

    Args:
        model_type: as the ``config.json`` of a model or the fields of an architecture name it.
        where: the file or key that names it, for the error.

    Raises:
        PluginError: neither transformers nor an installed distribution knows the type, two distributions offer it, or the
            function that registers it fails.
    """
    from transformers import CONFIG_MAPPING

    if model_type in CONFIG_MAPPING:
        return
    points = _offered(model_type)
    if not points:
        raise PluginError(f"no model type {model_type!r} in transformers or an installed plugin", where, _remedy(model_type))
    if len(points) > 1:
        owners = " and ".join(str(point.dist.name) for point in points if point.dist)
        raise PluginError(f"two distributions offer the model type {model_type!r}: {owners}", where, "uninstall one of them")
    (point,) = points
    entry = f"entry point {GROUP}: {point.name} = {point.value}"
    try:
        point.load()()
    except Exception as error:
        what = f"the model type {model_type!r} cannot be registered: {type(error).__name__}: {error}"
        raise PluginError(what, entry, "mend the function, or name another in pyproject.toml and install anew") from error
    if model_type not in CONFIG_MAPPING:
        fix = f"call AutoConfig.register({model_type!r}, …) in it, with a configuration class of that model_type"
        raise PluginError(f"the function registered no model type {model_type!r}", entry, fix)


def known() -> set[str]:
    """Every type that a model can have here, of transformers and of installed distributions."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return {*CONFIG_MAPPING_NAMES, *metadata.entry_points(group=GROUP).names}


def code_of(model_type: str) -> dict[str, str]:
    """What a stage that builds a model of the type reads besides its flows, for ``external_inputs``.

    For a type of a distribution, the hash of its package by its meaning, and of the packages ``workbench_…`` that this
    imports; nothing for a type of transformers itself, whose version counts anyway.
    """
    found = {}
    for point in _offered(model_type):
        module = point.module.partition(".")[0]
        for name in (module, *sorted(meaning.family_of([module]))):
            if package := meaning.package_of(name):
                key = f"model type {model_type}" if name == module else f"model type {model_type}: {name}"
                found[key] = meaning.digest_of(package)[:32]
    return found


def _offered(model_type: str) -> list[metadata.EntryPoint]:
    return list(metadata.entry_points(group=GROUP, name=model_type))


def _remedy(model_type: str) -> str:
    from transformers import CONFIG_MAPPING

    close = difflib.get_close_matches(model_type, [*CONFIG_MAPPING, *metadata.entry_points(group=GROUP).names], 1)
    guess = f"did you mean {close[0]!r}? Otherwise " if close else ""
    return (
        f"{guess}install the plugin that brings it (`pip install -e plugins/NAME`); its pyproject.toml names it under "
        f'[project.entry-points."{GROUP}"]: {model_type} = "PACKAGE.modeling:register"'
    )
