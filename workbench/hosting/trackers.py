"""The trackers that compute.yaml names, or those on by default, and how to query them; any of them may not know the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pluggy

from workbench.answers import Circumstances
from workbench.errors import PluginError, WorkbenchError
from workbench.hookspecs import TrackerHooks
from workbench.hosting import host
from workbench.hosting.host import registry
from workbench.kinds.tracker import Tracker
from workbench.lib import compute

if TYPE_CHECKING:
    from workbench.answers import Record
    from workbench.hosting.host import Installed, Registry

T = TypeVar("T")
_WHERE = "compute.yaml, key trackers"


def configured(root: Path) -> list[Tracker[Any]]:
    """An instance of each, with its default configuration and not opened.

    Raises:
        PluginError: a tracker is not installed, or compute.yaml names none and none is on by default.
        ComputeError: compute.yaml cannot be read.
    """
    try:  # loading every plugin to find one would cost each command and each watcher a third of a second
        if (names := compute.load_config(root).trackers) is None:
            return _selected(root, registry(root))
        named = [host.named_after(Tracker.kind, name) for name in names]
        return _selected(root, registry(root, frozenset().union(*named)))
    except PluginError:
        return _selected(root, registry(root))  # another distribution may have it, or the error lists all there are


def names(root: Path) -> tuple[str, ...]:
    """What compute.yaml names, or else what is installed and on by default, which is nothing in a plugin's own environment.

    Raises:
        ComputeError: compute.yaml cannot be read.
    """
    named = compute.load_config(root).trackers
    return _on_by_default(registry(root)) if named is None else named


def that_answer(root: Path, hook: str) -> list[str]:
    """The names of the installed trackers that implement a hook."""
    return sorted(entry.plugin.name for entry in registry(root).installed if _is_tracker(entry) and hasattr(entry.plugin, hook))


def require_one_of_each(root: Path, files: Path | None = None) -> None:
    """Refuse a tracker that no distribution offers, or more than one, regardless of the distributions' names.

    Args:
        root: the workspace.
        files: the folder of compute.yaml, if not the workspace.

    Raises:
        PluginError: there is such a tracker in compute.yaml, or it names none and none is on by default.
    """
    _selected(files or root, registry(root))


def _selected(root: Path, known: Registry) -> list[Tracker[Any]]:
    named = compute.load_config(root).trackers
    wanted = _require_default(known) if named is None else named
    selected = [known.select(Tracker.kind, name, _WHERE).plugin for name in wanted]
    return [cast("Tracker[Any]", plugin(plugin.Config())) for plugin in selected]


def _is_tracker(entry: Installed) -> bool:
    return issubclass(entry.plugin, Tracker)


def _on_by_default(known: Registry) -> tuple[str, ...]:
    found = {cast("type[Tracker[Any]]", entry.plugin) for entry in known.installed if _is_tracker(entry)}
    return tuple(sorted(tracker.name for tracker in found if tracker.on_by_default))


def _require_default(known: Registry) -> tuple[str, ...]:
    """Refuse to record nothing unless compute.yaml asks for that."""
    if found := _on_by_default(known):
        return found
    broken = "".join(f"; {item.distribution} is broken, see `workbench plugins --errors`" for item in known.broken)
    what = f"the key is missing, and no tracker that is installed is on by default{broken}"
    raise PluginError(what, _WHERE, "name a tracker, as in `trackers: [NAME]`, or write `trackers: []` to record no run")


def hooks_of(tracker: Tracker[Any]) -> Any:
    """The tracker's implementations of :class:`~workbench.hookspecs.TrackerHooks`, to be called by name."""
    manager = pluggy.PluginManager("workbench")
    manager.add_hookspecs(TrackerHooks)
    manager.register(tracker)
    manager.check_pending()
    return manager.hook


@contextmanager
def asked(tracker: Tracker[Any]) -> Iterator[None]:
    """Explain that a tracker's store does not answer a command; the watcher, in contrast, waits for it.

    Raises:
        WorkbenchError: in place of ConnectionError.
    """
    try:
        yield
    except ConnectionError as error:
        elsewhere = f", or say where it is with {tracker.store_variable}=…" if tracker.store_variable else ""
        raise WorkbenchError(str(error), _WHERE, f"start it{elsewhere}; `workbench doctor` tries it") from error


def first_answer(root: Path, ask: Callable[[Any], T | None]) -> T | None:
    """The answer of the first tracker that has one; ``ask`` is called with the hooks of one after the other.

    Raises:
        WorkbenchError: a tracker's store cannot be reached.
    """
    for tracker in configured(root):
        with asked(tracker):
            found = ask(hooks_of(tracker))
        if found is not None:
            return found
    return None


def circumstances(root: Path, run: str) -> Circumstances:
    """The machine of a stage's run and the random variation of its metrics, from the first tracker that knows the run."""
    found: Circumstances | None = first_answer(root, lambda hooks: hooks.circumstances(workspace=root, run=run))
    return found or Circumstances()


def recorded(root: Path, run: str, into: Path) -> Record | None:
    """The record of a run from the first tracker that knows it; None if none does.

    Args:
        root: the main workspace.
        run: a store's name of a run, or its first characters.
        into: a folder for the session's files; it must not exist yet.

    Raises:
        WorkbenchError: a tracker's store cannot be reached, or the run is a session without a result, since it is still
            at work or was not a `dvc repro`.
    """
    into.mkdir(parents=True)
    found: Record | None = first_answer(root, lambda hooks: hooks.recorded(workspace=root, run=run, into=into))
    if found is not None and not found.stages:
        what = f"the session {run[:8]} recorded no result: it is at work, or no dvc.lock was written in it"
        raise WorkbenchError(what, found.name, "give the run of one of its stages")
    return found
