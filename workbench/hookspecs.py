"""Every hook of the workbench. Implementations are marked with :data:`workbench.hookimpl`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from pathlib import Path

    from workbench import events
    from workbench.answers import Circumstances, PastRun, Record, Version
    from workbench.artifacts.formats import Format
    from workbench.plugin import Plugin

hookspec = pluggy.HookspecMarker("workbench")


@hookspec
def workbench_plugins() -> list[type[Plugin[Any]]]:  # type: ignore[empty-body]
    """Return the plugin classes that a distribution offers, of any kind.

    The module that implements it is named by an entry point of group ``workbench`` whose key is the
    distribution's name. Importing that module must not import torch, transformers or mlflow::

        @hookimpl
        def workbench_plugins():
            return [MinHash]
    """


@hookspec
def workbench_kinds() -> list[type[Plugin[Any]]]:  # type: ignore[empty-body]
    """Return the base classes of the kinds that a distribution adds.

    A kind of stage says in its base class which section of params.yaml holds its entries, and what flows in and out::

        class TranslateStage(Stage[C]):
            \"\"\"Translates a corpus.\"\"\"

            kind = "translate"
            section = "translate"
            inputs = {"corpus": "corpus"}
            outputs = {"out": "translations"}

            @abstractmethod
            def translate(self, text: str) -> str: ...

            def execute(self, inputs, outputs, run): ...

        @hookimpl
        def workbench_kinds():
            return [TranslateStage]

    The module is named by the same entry point as that of :func:`workbench_plugins`, and may implement both.
    """


@hookspec
def workbench_formats() -> list[Format]:  # type: ignore[empty-body]
    """Return the artifact formats that a distribution adds: each with a name and a function that validates it.

    ::

        @hookimpl
        def workbench_formats():
            return [Format("translations", validate, count=number_of_rows, preview=first_rows)]
    """


class TrackerHooks:
    """What a tracker receives and is asked.

    Each event of :data:`workbench.events.AnyEvent` has the hook that :func:`workbench.events.hook_name` names, with the argument
    ``event``; metrics come in batches. Events come in the watcher's process, in the order of the journals. The hooks that ask are
    called by commands, on a tracker that was not opened.
    """

    @hookspec
    def session_started(self, event: events.SessionStarted) -> None:
        """A ``dvc repro`` runs or restores its first stage."""

    @hookspec
    def stage_started(self, event: events.StageStarted) -> str | None:
        """A stage begins; sent again, with the same run, when a killed stage resumes.

        Return what names the run in the tracker's store, such as ``MLflow run 3f2a…``; the stage's last line shows it.
        """

    @hookspec
    def metrics_logged(self, events: list[events.MetricsLogged]) -> None:
        """A batch of numbers of one run."""

    @hookspec
    def alert_raised(self, event: events.AlertRaised) -> None:
        """Something that needs attention; one run may raise the same alert again, for example while a stall lasts."""

    @hookspec
    def artifact_logged(self, event: events.ArtifactLogged, file: str) -> None:
        """A table, chart or text; ``file`` is the absolute path of its content."""

    @hookspec
    def generation_logged(self, event: events.GenerationLogged) -> None:
        """A text that a model generated."""

    @hookspec
    def artifact_committed(self, event: events.ArtifactCommitted) -> None:
        """An output is complete at its final path."""

    @hookspec
    def stage_finished(self, event: events.StageFinished) -> None:
        """A stage ended well."""

    @hookspec
    def outputs_hashed(self, event: events.OutputsHashed) -> None:
        """DVC has hashed the outputs of a stage that ended well."""

    @hookspec
    def stage_failed(self, event: events.StageFailed) -> None:
        """A stage ended with an error or was killed."""

    @hookspec
    def stage_reproduced(self, event: events.StageReproduced) -> None:
        """A run was compared with the one it repeats; sent after the run's end, or without an end if it could not run."""

    @hookspec
    def stage_restored(self, event: events.StageRestored) -> None:
        """DVC used a cached result."""

    @hookspec
    def session_finished(self, event: events.SessionFinished) -> None:
        """The ``dvc repro`` has ended and all its events were sent."""

    @hookspec
    def past_runs(self, workspace: Path, kind: str, plugin: str, machine: str) -> list[PastRun]:  # type: ignore[empty-body]
        """Return the finished runs of one plugin on one machine, newest first; ``workbench plan`` learns from them.

        Called outside the watcher, on a tracker that was not opened. Leave out resumed runs, whose time is
        not that of all their work.

        Args:
            workspace: the main workspace.
            kind: the plugin's kind.
            plugin: the plugin's name.
            machine: digest of the machine's fingerprint; a run's is :func:`workbench.artifacts.digests.of_record` of what
                :class:`~workbench.events.StageStarted` holds.
        """

    @hookspec(firstresult=True)
    def recorded(self, workspace: Path, run: str, into: Path) -> Record | None:
        """Return what the store holds of a run, as ``workbench reproduce`` needs it; None if it lacks the run.

        Called outside the watcher, on a tracker that was not opened.

        Args:
            workspace: the main workspace.
            run: the store's own name of a stage's run or of a session's.
            into: an empty folder for the session's files.
        """

    @hookspec(firstresult=True)
    def circumstances(self, workspace: Path, run: str) -> Circumstances | None:
        """Return the machine of a stage's run and the random variation of its metrics; asked when a repetition made other bytes.

        Called outside the watcher, on a tracker that was not opened.

        Args:
            workspace: the main workspace.
            run: the store's own name of the stage's run, as :meth:`recorded` returned it.
        """

    @hookspec(firstresult=True)
    def model_versions(self, workspace: Path) -> list[Version] | None:
        """Return the versions of the pipeline's registered model, for ``workbench promote``; None if there is no store yet.

        Called outside the watcher, on a tracker that was not opened.
        """

    @hookspec
    def move_champion(
        self, workspace: Path, to: Version, reason: str, before: Version | None, rolled_back: Version | None
    ) -> None:
        """Give the alias ``champion`` to a version.

        Called outside the watcher, on a tracker that was not opened.

        Args:
            workspace: the main workspace.
            to: the version.
            reason: why, for people.
            before: the champion so far, to be kept with a promotion: a roll back returns to it.
            rolled_back: the version that loses the alias and does not count as a former champion; None in a promotion.
        """


def tracker_hooks() -> list[str]:
    """Names of the hooks that a tracker can implement."""
    return [name for name in vars(TrackerHooks) if not name.startswith("_")]
