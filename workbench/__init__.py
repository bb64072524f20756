"""The LLM research workbench: contracts, plugin host, runner, tracking and command line.

Importing this package is cheap: it brings in pluggy and nothing else.
"""

import pluggy

__version__ = "0.1.0"

hookimpl = pluggy.HookimplMarker("workbench")
"""Marks a function or method as an implementation of one of :mod:`workbench.hookspecs`."""
