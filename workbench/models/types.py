"""Model types provided by plugins, registered with transformers only when a model of such a type is loaded.

A distribution names a function by an entry point whose key is the ``model_type``; it registers the type's classes with the
Auto classes of transformers::

    [project.entry-points."workbench.models.types"]
    ngram = "workbench_pretrain_ngram.modeling:register"
"""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

from workbench.errors import PluginError

GROUP = "workbench.models.types"


def register(directory: Path) -> None:
    """Register the type of the model in a directory with the Auto classes. No code from the directory is run.

    Raises:
        PluginError: neither transformers nor an installed distribution knows the type, or two distributions offer it.
    """
    from transformers import CONFIG_MAPPING

    file = directory / "config.json"
    model_type = json.loads(file.read_text(encoding="utf-8")).get("model_type", "")
    if model_type in CONFIG_MAPPING:
        return
    points = list(metadata.entry_points(group=GROUP, name=model_type))
    if len(points) != 1:
        owners = " and ".join(str(point.dist.name) for point in points if point.dist)
        what = f"two distributions offer the model type {model_type!r}: {owners}" if points else f"no model type {model_type!r}"
        raise PluginError(what, str(file), "uninstall one of them" if points else "install the plugin that made the model")
    points[0].load()()
