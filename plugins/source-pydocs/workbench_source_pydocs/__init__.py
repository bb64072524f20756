"""Docstrings of installed Python packages, in four views: corpus, instructions, preferences and benchmark."""

from __future__ import annotations

from typing import Any

from workbench import hookimpl
from workbench.plugin import Plugin
from workbench_source_pydocs.views import Pydocs, PydocsBenchmark, PydocsInstructions, PydocsPreferences

__all__ = ["Pydocs", "PydocsBenchmark", "PydocsInstructions", "PydocsPreferences", "workbench_plugins"]


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """The four views."""
    return [Pydocs, PydocsInstructions, PydocsPreferences, PydocsBenchmark]
