"""The LLM research workbench: contracts, plugin host, runner, tracking and command line.

Modules at the top are what plugins may import, what several packages share, and small commands; the rest has packages:

    kinds, artifacts    what a plugin of each kind implements, and the formats of what flows between stages
    project             what a workspace's files say: params.yaml, dvc.yaml, plugins.lock.json, dvc.lock
    hosting, catalog    the installed plugins: found, identified, given environments; described
    execution           the process of a stage, from its guard to outputs that are put in place whole
    tracking            journals, and the watcher that brings them to trackers
    records             what is recorded of a run, and read back
    planning, comparison, reproduction, verification, doctor    one command each
    testing, templates  for those who write plugins

Importing this package is cheap: it brings in pluggy and nothing else.
"""

import pluggy

__version__ = "0.1.0"

hookimpl = pluggy.HookimplMarker("workbench")
"""Marks a function or method as an implementation of one of :mod:`workbench.hookspecs`."""
