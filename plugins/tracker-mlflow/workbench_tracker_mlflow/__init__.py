"""Tracker ``mlflow``: every stage of the workbench as a run in MLflow."""

from __future__ import annotations

from typing import Any

from workbench import hookimpl
from workbench.plugin import Plugin
from workbench_tracker_mlflow.tracker import MlflowTracker


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """Offer the tracker."""
    return [MlflowTracker]
