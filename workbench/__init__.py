"""The LLM research workbench: contracts, plugin host, runner, tracking and command line.

What a plugin is written against stands here, and in kinds, artifacts, models, training and testing. The other packages are layers
of machinery, of which a lower one never imports a higher one; docs/architecture.md draws them, and follows a document, a key and
a metric through them. Importing this package is cheap: it imports only pluggy.
"""

import pluggy

__version__ = "0.1.0"

hookimpl = pluggy.HookimplMarker("workbench")
"""Marks a function or method as an implementation of one of :mod:`workbench.hookspecs`."""
