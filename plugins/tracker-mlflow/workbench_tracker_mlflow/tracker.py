"""The tracker: each lifecycle event, written to the store so that writing it again changes nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from workbench import events, hookimpl, redaction
from workbench_tracker_mlflow import tags
from workbench_tracker_mlflow.answers import MlflowAnswers

if TYPE_CHECKING:
    from mlflow.entities import Run

    from workbench_tracker_mlflow.models import Model

P = ParamSpec("P")
T = TypeVar("T")
FINAL_KIND = "align"
"""The kind whose model is the pipeline's final one; in a pipeline without it, the last model is."""
_log = logging.getLogger(__name__)


def _guarded(hook: Callable[Concatenate[MlflowTracker, P], T]) -> Callable[Concatenate[MlflowTracker, P], T]:
    """Let a hook raise ConnectionError when it is the store that fails."""

    @wraps(hook)
    def guarded(self: MlflowTracker, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self.store.guarded():
            return hook(self, *args, **kwargs)

    return guarded


class MlflowTracker(MlflowAnswers):
    """Runs, metrics, artifacts, datasets, models and traces in MLflow (https://mlflow.org/docs/latest/ml/tracking/)."""

    name = "mlflow"

    @hookimpl
    @_guarded
    def session_started(self, event: events.SessionStarted) -> None:
        """Make the parent run."""
        from workbench_tracker_mlflow import beginning, files

        run = self._session(event.session)
        if run is None:
            known, name = beginning.session_tags(event), beginning.session_name(event)
            run = self.store.client.create_run(self.store.experiment, int(event.time * 1000), known, name)
        files.log_session_files(self.store, run.info.run_id, event.files)
        self._describe_session(run.info.run_id)

    @hookimpl
    @_guarded
    def stage_started(self, event: events.StageStarted) -> str:
        """Make the stage's run, or take up the one that was killed."""
        from workbench_tracker_mlflow import datasets, files, models, params

        session = self._session(event.session)
        before = self.store.one({tags.RUN: event.run})
        if before is not None and float(before.data.tags[tags.STARTED]) > event.time:
            self._hand_over(session, before)  # a later attempt is in the store already
            return f"MLflow run {before.info.run_id}"
        run = self._open_run(event, session, before)
        self.store.log_params(run, params.of_entry(event.lock))
        if event.inputs:
            self.store.client.log_inputs(run, [datasets.as_input(artifact) for artifact in event.inputs])
            models.log_inputs(self.store, run, event.inputs)
        files.log_json(self.store, run, "lock_entry.json", event.lock)
        files.log_json(self.store, run, "machine.json", event.machine)
        if session is not None:
            files.copy_session_files(self.store, session.info.run_id, run)
            self._describe_session(session.info.run_id)
        self._describe_stage(run)
        self._describe_makers(event.inputs)
        return f"MLflow run {run}"

    @hookimpl
    @_guarded
    def metrics_logged(self, events: list[events.MetricsLogged]) -> None:
        """Write numbers; those that are not finite are named in a tag instead, since MLflow would show a number."""
        from workbench_tracker_mlflow import metrics

        metrics.log_curves(self.store, self._run_of(events[0].run), events)

    @hookimpl
    @_guarded
    def alert_raised(self, event: events.AlertRaised) -> None:
        """Note it in a tag, where the newest of a name stands, and in the description."""
        run = self._run_of(event.run)
        self.store.set_tags(run, {tags.alert(event.name): redaction.text(event.message)})
        self._describe_stage(run)

    @hookimpl
    @_guarded
    def artifact_logged(self, event: events.ArtifactLogged, file: str) -> None:
        """Write a table, chart or text in the forms that the UI previews."""
        from workbench_tracker_mlflow import files

        files.log_shown(self.store, self._run_of(event.run), event, Path(file))

    @hookimpl
    @_guarded
    def generation_logged(self, event: events.GenerationLogged) -> None:
        """Write a trace."""
        from workbench_tracker_mlflow import traces

        run = self.store.client.get_run(self._run_of(event.run))
        traces.log(self.store, run.info.run_id, run.data.tags[tags.STAGE], event)

    @hookimpl
    @_guarded
    def artifact_committed(self, event: events.ArtifactCommitted) -> None:
        """Note an output; its hash comes when DVC has it."""
        from workbench_tracker_mlflow import description

        run = self._run_of(event.run)
        known = tags.read_json(self.store.client.get_run(run).data.tags, tags.OUTPUTS, [])
        others = [record for record in known if record["path"] != event.artifact.path]
        self.store.set_tags(run, tags.as_json(tags.OUTPUTS, description.as_records([*others, asdict(event.artifact)])))

    @hookimpl
    @_guarded
    def outputs_hashed(self, event: events.OutputsHashed) -> None:
        """Note the outputs' hashes, and record the models among them."""
        from workbench_tracker_mlflow import models

        run = self._run_of(event.run)
        self.store.set_tags(run, {tags.output_digest(path): digest for path, digest in event.outputs.items()})
        record = self.store.client.get_run(run)
        for model in models.made_by(record):
            self._log_model(model, final=record.data.tags[tags.KIND] == FINAL_KIND)
        self._describe_stage(run)

    @hookimpl
    @_guarded
    def stage_finished(self, event: events.StageFinished) -> None:
        """Close the run with its results."""
        from workbench_tracker_mlflow import description, files, metrics

        run = self._run_of(event.run)
        metrics.log_final(self.store, run, event.metrics, event.time)
        results = {tags.SECONDS: f"{event.seconds:.3f}", tags.PEAK_MEMORY: str(event.peak_memory)}
        self.store.set_tags(run, {**results, **tags.as_json(tags.RESULTS, event.metrics)})
        if event.libraries:
            files.log_json(self.store, run, "libraries.json", event.libraries)
        if event.metrics:
            self.store.set_tags(run, {tags.KEY_RESULTS: description.key_results(event.metrics)})
        if tags.ERROR in self.store.client.get_run(run).data.tags:  # of the attempt that was killed
            self.store.client.delete_tag(run, tags.ERROR)
        self._close(run, "FINISHED", event.time)

    @hookimpl
    @_guarded
    def stage_failed(self, event: events.StageFailed) -> None:
        """Close the run with its error, unless a later attempt has taken it up."""
        from workbench_tracker_mlflow import files

        run = self._run_of(event.run)
        if float(self.store.client.get_run(run).data.tags[tags.STARTED]) > event.time:
            return
        self.store.set_tags(run, {tags.ERROR: redaction.text(event.error)})
        files.log_text(self.store, run, "error.txt", redaction.text(f"{event.error}\n\n{event.traceback}".rstrip() + "\n"))
        self._close(run, event.status, event.time)

    @hookimpl
    @_guarded
    def stage_reproduced(self, event: events.StageReproduced) -> None:
        """Note the verdict in the run and in the one that it repeats."""
        from workbench_tracker_mlflow import files

        run = self._run_of(event.run)
        self.store.set_tags(run, {tags.VERDICT: event.verdict, tags.KEY_RESULTS: f"{event.verdict}: {event.reason}"[:500]})
        files.log_text(self.store, run, "reproduction.md", event.report)
        self._describe_stage(run)
        if event.original:
            record = {"run": run, "verdict": event.verdict, "reason": event.reason[:500]}
            self.store.set_tags(event.original, {tags.reproduced(run): json.dumps(record)})
            self._describe_stage(event.original)

    @hookimpl
    @_guarded
    def stage_restored(self, event: events.StageRestored) -> None:
        """Link a stage that DVC did not run to the run that made its result."""
        from workbench_tracker_mlflow import description

        session = self._session(event.session)
        if session is None:
            return
        if tags.cached(event.stage) in session.data.tags:
            return  # what is known at the time of the session stays its record
        origin = self._origin(event)
        record = {
            "stage": event.stage,
            "state": event.state,
            "moved": event.moved,
            "run": origin.info.run_id if origin is not None else "",
            "kind": origin.data.tags[tags.KIND] if origin is not None else "",
            "results": description.headlines(description.results_of(origin)) if origin is not None else {},
        }
        self.store.set_tags(session.info.run_id, {tags.cached(event.stage): json.dumps(record)})

    @hookimpl
    @_guarded
    def session_finished(self, event: events.SessionFinished) -> None:
        """Close the parent run: evaluation results, final model, what DVC recorded, description."""
        from workbench_tracker_mlflow import files

        session = self._session(event.session)
        if session is None:
            return
        children = self.store.children(session.info.run_id)
        self._log_evaluations(session, children, event.time)
        if event.status == "FINISHED":
            self._register_last(session, children)
        files.log_session_files(self.store, session.info.run_id, event.files)
        if event.error:
            self.store.set_tags(session.info.run_id, {tags.ERROR: redaction.text(event.error)})
        self.store.client.set_terminated(session.info.run_id, event.status, int(event.time * 1000))
        self._describe_session(session.info.run_id)

    def _run_of(self, run: str) -> str:
        """MLflow's id of a run.

        Raises:
            LookupError: its start was never written.
        """
        if run not in self._runs:
            found = self.store.one({tags.RUN: run})
            if found is None:
                raise LookupError(f"run {run} is not in {self.store.uri}")
            self._runs[run] = found.info.run_id
        return self._runs[run]

    def _session(self, session: str) -> Run | None:
        return self.store.one({tags.SESSION: session, tags.ROLE: "session"})

    def _open_run(self, event: events.StageStarted, session: Run | None, before: Run | None) -> str:
        from workbench_tracker_mlflow import beginning

        known = beginning.stage_tags(event, session)
        if before is None:
            name = beginning.stage_name(event)
            created = self.store.client.create_run(self.store.experiment, int(event.time * 1000), known, name)
            return str(created.info.run_id)
        run = str(before.info.run_id)
        former = before.data.tags.get(tags.PARENT)
        self.store.set_tags(run, known)
        self.store.client.update_run(run, "RUNNING")
        if former and former != known.get(tags.PARENT):
            self._hand_over(self.store.client.get_run(former), before)
        return run

    def _hand_over(self, session: Run | None, run: Run) -> None:
        """Note in the session in which a run was killed that a later one has taken it up."""
        if session is None or self.store.client.get_run(run.info.run_id).data.tags.get(tags.PARENT) == session.info.run_id:
            return
        stage = run.data.tags[tags.STAGE]
        self.store.set_tags(session.info.run_id, {tags.continued(stage): json.dumps({"stage": stage, "run": run.info.run_id})})
        self._describe_session(session.info.run_id)

    def _origin(self, event: events.StageRestored) -> Run | None:
        """The run of that stage that made exactly these outputs, the newest one if several did."""
        wanted = {tags.STAGE: event.stage} | {tags.output_digest(path): digest for path, digest in event.outputs.items()}
        if event.fingerprint:
            wanted[tags.FINGERPRINT] = event.fingerprint
        found = self.store.find(wanted, limit=20) if event.outputs else []
        return next((run for run in found if run.info.status == "FINISHED" and tags.REPRODUCES not in run.data.tags), None)

    def _close(self, run: str, status: str, time: float) -> None:
        self.store.client.set_terminated(run, status, int(time * 1000))
        self._describe_stage(run)
        known = self.store.client.get_run(run).data.tags
        self.store.one({tags.RUN: known[tags.RUN]})  # the last chance to see that there are two
        if session := known.get(tags.PARENT):
            self._describe_session(session)

    def _describe_stage(self, run: str) -> None:
        from workbench_tracker_mlflow import description

        self.store.client.set_tag(run, tags.NOTE, description.of_stage(self.store, self.store.client.get_run(run)))

    def _describe_session(self, run: str) -> None:
        from workbench_tracker_mlflow import description

        text = description.of_session(self.store, self.store.client.get_run(run), self.store.children(run))
        self.store.client.set_tag(run, tags.NOTE, text)

    def _describe_makers(self, inputs: Sequence[events.Artifact]) -> None:
        """Let the runs that made the inputs name their new reader."""
        for artifact in inputs:
            makers = self.store.find({tags.output_digest(artifact.path): artifact.digest}) if artifact.digest else []
            for maker in makers:
                self._describe_stage(maker.info.run_id)

    def _log_model(self, model: Model, *, final: bool) -> None:
        from workbench_tracker_mlflow import models

        model_id = models.log(self.store, model)
        if final:
            done = models.register(self.store, self._registered_name(), model, model_id)
            _log.info("%s: %s", model.path, done)
            self.store.set_tags(model.run, {tags.REGISTRATION: done})

    def _register_last(self, session: Run, children: Sequence[Run]) -> None:
        """In a pipeline without the final kind, register the last model it made."""
        from workbench_tracker_mlflow import models

        cached = tags.records(session.data.tags, tags.CACHED)
        if FINAL_KIND in {run.data.tags[tags.KIND] for run in children} | {record["kind"] for record in cached}:
            return
        order = tags.read_json(session.data.tags, tags.PIPELINE, [])
        if FINAL_KIND in {name.partition("@")[0] for name in order}:
            return
        made = {model.stage: model for run in children for model in models.made_by(run)}
        if made:
            self._log_model(made[tags.in_order(made, session.data.tags)[-1]], final=True)

    def _log_evaluations(self, session: Run, children: Sequence[Run], time: float) -> None:
        """Every evaluation's results on the parent too, so that the table of runs compares whole pipelines."""
        from workbench_tracker_mlflow import description, metrics

        cached = tags.records(session.data.tags, tags.CACHED)
        makers = {record["stage"]: self.store.client.get_run(record["run"]) for record in cached if record["kind"] == "eval"}
        results = {stage: description.results_of(maker) for stage, maker in makers.items()}
        evaluations = [run for run in children if run.data.tags[tags.KIND] == "eval"]
        results |= {run.data.tags[tags.STAGE]: description.results_of(run) for run in evaluations}
        if results:
            order = tags.in_order(results, session.data.tags)
            firsts = {stage: description.key_results(results[stage], number=1) for stage in order}
            texts = [f"{stage.removeprefix('eval-')} {first}" for stage, first in firsts.items() if first]
            self.store.set_tags(session.info.run_id, {tags.KEY_RESULTS: "; ".join(texts)[:500]})
        for stage, found in results.items():
            values = {f"{stage.replace('@', '/')}/{name}": value for name, value in found.items()}
            self.store.log_metrics(session.info.run_id, [*metrics.of(values, time, 0)])
