"""The LLM research workbench: contracts, plugin host, runner, tracking and command line.

Layers, from the ground up; a lower one never imports a higher one, and `make lint` holds that:

    plugin, run, errors, …    the contract: the modules here, with kinds and artifacts                for plugins
    lib                       what decides no output: files, processes, machine, console              private
    models, training          loading, scoring and generating; trainers, optimizers, checkpoints      for plugins
    hosting                   the installed plugins: found, identified, given environments
    project, catalog          what a workspace's files say, and DVC (project.dvc); the plugins described
    records, tracking         what is recorded of a run; journals, and the watcher that feeds trackers
    planning                  what a `dvc repro` would do, why, and at which cost
    comparison, verification  one command each
    execution, reproduction   the process of a stage; a recorded run made again
    commands                  the command line, and small commands
    testing                   for those who write plugins                                             for plugins

docs/architecture.md draws it and follows a document, a key and a metric through it. Importing this package is cheap: it imports
only pluggy.
"""

import pluggy

__version__ = "0.1.0"

hookimpl = pluggy.HookimplMarker("workbench")
"""Marks a function or method as an implementation of one of :mod:`workbench.hookspecs`."""
