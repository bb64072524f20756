"""The trackers named in compute.yaml, and how to query them; any of them may not know the answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pluggy

from workbench.answers import Circumstances
from workbench.errors import PluginError, WorkbenchError
from workbench.hookspecs import TrackerHooks
from workbench.hosting import host
from workbench.hosting.host import registry
from workbench.lib import compute

if TYPE_CHECKING:
    from workbench.answers import Record
    from workbench.hosting.host import Registry
    from workbench.kinds.tracker import Tracker


def configured(root: Path) -> list[Tracker[Any]]:
    """An instance of each, with its default configuration and not opened.

    Raises:
        PluginError: a tracker is not installed.
        ComputeError: compute.yaml cannot be read.
    """
    try:  # loading every plugin to find one would cost each command and each watcher a third of a second
        named = [host.named_after("tracker", name) for name in compute.load_config(root).trackers]
        return _selected(root, registry(root, frozenset().union(*named)))
    except PluginError:
        return _selected(root, registry(root))  # another distribution may have it, or the error lists all there are


def require_one_of_each(root: Path) -> None:
    """Refuse a tracker that no distribution offers, or more than one, regardless of the distributions' names.

    Raises:
        PluginError: there is such a tracker in compute.yaml.
    """
    _selected(root, registry(root))


def _selected(root: Path, known: Registry) -> list[Tracker[Any]]:
    names = compute.load_config(root).trackers
    selected = [known.select("tracker", name, "compute.yaml, key trackers").plugin for name in names]
    return [cast("Tracker[Any]", plugin(plugin.Config())) for plugin in selected]


def hooks_of(tracker: Tracker[Any]) -> Any:
    """The tracker's implementations of :class:`~workbench.hookspecs.TrackerHooks`, to be called by name."""
    manager = pluggy.PluginManager("workbench")
    manager.add_hookspecs(TrackerHooks)
    manager.register(tracker)
    manager.check_pending()
    return manager.hook


@contextmanager
def asked() -> Iterator[None]:
    """Explain that a store does not answer a command; the watcher, in contrast, waits for it.

    Raises:
        WorkbenchError: in place of ConnectionError.
    """
    try:
        yield
    except ConnectionError as error:
        fix = "start it, or set its address, for MLflow with MLFLOW_TRACKING_URI=…; `workbench doctor` tests it"
        raise WorkbenchError(str(error), "compute.yaml, key trackers", fix) from error


def circumstances(root: Path, run: str) -> Circumstances:
    """The machine of a stage's run and the random variation of its metrics, from the first tracker that knows the run."""
    answers = (hooks_of(tracker).circumstances(workspace=root, run=run) for tracker in configured(root))
    with asked():
        return next((found for found in answers if found is not None), Circumstances())


def recorded(root: Path, run: str, into: Path) -> Record | None:
    """The record of a run from the first tracker that knows it; None if none does.

    Args:
        root: the main workspace.
        run: a store's name of a run, or its first characters.
        into: a folder for the session's files; it must not exist yet.

    Raises:
        WorkbenchError: a tracker's store cannot be reached, or it is a session without a result, which is still at
            work or was not a `dvc repro`.
    """
    into.mkdir(parents=True)
    answers = (hooks_of(tracker).recorded(workspace=root, run=run, into=into) for tracker in configured(root))
    with asked():
        found = next((found for found in answers if found is not None), None)
    if found is not None and not found.stages:
        what = f"the session {run[:8]} recorded no result: it is at work, or no dvc.lock was written in it"
        raise WorkbenchError(what, found.name, "give the run of one of its stages")
    return found
