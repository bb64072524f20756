"""Tracker ``tensorboard``: every stage of the workbench as a folder of TensorBoard event files."""

from __future__ import annotations

from typing import Any

from workbench import hookimpl
from workbench.plugin import Plugin
from workbench_tracker_tensorboard.tracker import TensorboardTracker


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """Offer the tracker."""
    return [TensorboardTracker]
