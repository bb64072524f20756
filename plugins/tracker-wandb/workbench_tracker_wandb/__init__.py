"""Tracker ``wandb``: every stage of the workbench as a run of Weights & Biases, kept below the workspace."""

from __future__ import annotations

from typing import Any

from workbench import hookimpl
from workbench.plugin import Plugin
from workbench_tracker_wandb.tracker import WandbTracker


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """Offer the tracker."""
    return [WandbTracker]
