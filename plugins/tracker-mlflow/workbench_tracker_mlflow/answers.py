"""What the store answers outside the watcher: to `workbench plan`, `reproduce`, `compare`, `promote` and `ui`."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from workbench import hookimpl
from workbench.kinds.tracker import Tracker
from workbench.plugin import Config

if TYPE_CHECKING:
    from workbench.answers import Circumstances, PastRun, Record, Version
    from workbench_tracker_mlflow.store import Store

T = TypeVar("T")
DEFAULT_NAME = "workbench-default"


class MlflowConfig(Config):
    """Nothing: the environment says where the tracker writes."""


class MlflowAnswers(Tracker[MlflowConfig]):
    """Connection to the store, and the questions that commands ask it."""

    Config = MlflowConfig
    on_by_default = True
    store_variable = "MLFLOW_TRACKING_URI"

    def open(self, workspace: Path) -> None:
        """Connect to the store, and make it where there is none."""
        from workbench_tracker_mlflow.store import Store

        self.experiment = _experiment_name()
        self.store: Store = Store(workspace, self.experiment)
        self._runs: dict[str, str] = {}
        """Journal's name of a run → MLflow's, as far as they were looked up."""

    def check_store(self, workspace: Path) -> str:
        """Read the file of SQLite, or ask the server; MLflow itself takes seconds to import."""
        from workbench_tracker_mlflow import reach

        return reach.check(workspace, _experiment_name())

    def ui_command(self, workspace: Path, port: int) -> list[str]:
        """MLflow's own server on 127.0.0.1, whose middleware refuses foreign Host headers; none for a remote store."""
        from workbench_tracker_mlflow import server
        from workbench_tracker_mlflow.store import is_database

        self.open(workspace)
        return server.command(workspace, self.store.uri, port) if is_database(self.store.uri) else []

    def ui_address(self, workspace: Path, port: int) -> str:
        """Where a browser finds the experiment's runs."""
        from workbench_tracker_mlflow.store import is_database

        self.open(workspace)
        self.store.prepare_views()
        server = f"http://127.0.0.1:{port}" if is_database(self.store.uri) else self.store.uri.rstrip("/")
        return f"{server}/{self.store.page()}"

    @hookimpl
    def past_runs(self, workspace: Path, kind: str, plugin: str, machine: str) -> list[PastRun]:
        """Read what runs of a plugin took; none where there is no store yet. MLflow itself is asked where it has to be."""
        from workbench_tracker_mlflow import history, store
        from workbench_tracker_mlflow.outage import SQLITE

        uri = store.tracking_uri(workspace)
        if uri.startswith(SQLITE) and store.exists(workspace):
            with suppress(sqlite3.Error):
                file = Path(uri.removeprefix(SQLITE))
                return history.past_runs_of_file(file, _experiment_name(), kind, plugin, machine)
        return self._ask(workspace, lambda store: history.past_runs(store, kind, plugin, machine)) or []

    @hookimpl
    def recorded(self, workspace: Path, run: str, into: Path) -> Record | None:
        """Read what the store holds of a run, for repeating it."""
        from workbench_tracker_mlflow import recorded

        return self._ask(workspace, lambda store: recorded.read(store, run, into))

    @hookimpl
    def circumstances(self, workspace: Path, run: str) -> Circumstances | None:
        """Read the machine, and compare the run with those that differ from it in the seed alone."""
        from workbench_tracker_mlflow import recorded

        return self._ask(workspace, lambda store: recorded.circumstances(store, run))

    @hookimpl
    def model_versions(self, workspace: Path) -> list[Version] | None:
        """Read the registry, and which evaluations each version has."""
        from workbench_tracker_mlflow import registry

        return self._ask(workspace, lambda store: list(registry.versions(store, self._registered_name())))

    @hookimpl
    def move_champion(
        self, workspace: Path, to: Version, reason: str, before: Version | None, rolled_back: Version | None
    ) -> None:
        """Move the alias, and note on the versions when, why and from which."""
        from workbench_tracker_mlflow import registry

        self.open(workspace)
        with self.store.guarded():
            registry.move_champion(self.store, to, reason, before, rolled_back)

    def _ask(self, workspace: Path, question: Callable[[Store], T]) -> T | None:
        """None where there is no store yet, which asking does not make."""
        from workbench_tracker_mlflow import store

        if not store.exists(workspace):
            return None
        self.open(workspace)
        with self.store.guarded():
            return question(self.store)

    def _registered_name(self) -> str:
        """The experiment's; MLflow takes neither of the two characters in a model's name."""
        return re.sub("[/:]", "-", self.experiment)


def _experiment_name() -> str:
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or DEFAULT_NAME
