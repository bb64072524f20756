"""The tracker: each lifecycle event, written to the store so that writing it again changes nothing."""

from __future__ import annotations

import json
import logging
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from workbench import events, hookimpl
from workbench.kinds.tracker import Tracker
from workbench.plugin import Config
from workbench.run import Chart
from workbench_tracker_mlflow import redaction, tags

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
    from workbench_tracker_mlflow.models import Model
    from workbench_tracker_mlflow.store import Store

P = ParamSpec("P")
T = TypeVar("T")
DEFAULT_NAME = "workbench-default"
FINAL_KIND = "align"
"""The kind whose model is the pipeline's final one; in a pipeline without it, the last model is."""
_PREVIEWED = frozenset({".csv", ".html", ".json", ".md", ".png", ".txt", ".yaml"})
_log = logging.getLogger(__name__)


class MlflowConfig(Config):
    """Where the tracker writes; both can be left to the environment."""

    experiment: str = ""
    """Name of the experiment; empty takes ``MLFLOW_EXPERIMENT_NAME``, or ``workbench-default``."""
    registered_model: str = ""
    """Name in the registry of the pipeline's final model; empty takes the experiment's name."""


def _guarded(hook: Callable[Concatenate[MlflowTracker, P], T]) -> Callable[Concatenate[MlflowTracker, P], T]:
    """Let a hook raise ConnectionError when it is the store that fails."""

    @wraps(hook)
    def guarded(self: MlflowTracker, *args: P.args, **kwargs: P.kwargs) -> T:
        with self.store.guarded():
            return hook(self, *args, **kwargs)

    return guarded


class MlflowTracker(Tracker[MlflowConfig]):
    """Runs, metrics, artifacts, datasets, models and traces in MLflow (https://mlflow.org/docs/latest/ml/tracking/)."""

    name = "mlflow"
    Config = MlflowConfig

    def open(self, workspace: Path) -> None:
        """Connect to the store, and make it where there is none."""
        from workbench_tracker_mlflow.store import Store

        self.workspace = workspace
        self.experiment = self.config.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or DEFAULT_NAME
        self.store: Store = Store(workspace, self.experiment)
        self._runs: dict[str, str] = {}

    @hookimpl
    @_guarded
    def session_started(self, event: events.SessionStarted) -> None:
        """Make the parent run."""
        known = {
            tags.ROLE: "session",
            tags.SESSION: event.session,
            tags.COMMAND: redaction.text(event.command),
            tags.DIRECTORY: event.directory,
            tags.PIPELINE: json.dumps(event.stages),
            tags.EXPERIMENT: event.experiment,
            **_source_tags(event),
        }
        run = self._find_or_create({tags.SESSION: event.session, tags.ROLE: "session"}, known, _session_name(event), event.time)
        self._log_files(run, event.files)
        self._describe_session(run)

    @hookimpl
    @_guarded
    def stage_started(self, event: events.StageStarted) -> str:
        """Make the stage's run, or take up the one that was killed."""
        from workbench_tracker_mlflow import datasets, params

        parent = self._parent(event.session)
        wanted = {tags.RUN: event.run}
        run = self._find_or_create(wanted, self._stage_tags(event, parent), f"{event.stage} · {event.plugin}", event.time)
        self.store.client.update_run(run, "RUNNING")
        self.store.log_params(run, params.of_entry(event.lock))
        if event.inputs:
            self.store.client.log_inputs(run, [datasets.as_input(artifact) for artifact in event.inputs])
            self._log_input_models(run, event.inputs)
        self._log_json(run, "lock_entry.json", event.lock)
        self._log_json(run, "machine.json", event.machine)
        if parent is not None:
            self._copy_session_files(parent, run)
            self._describe_session(parent.info.run_id)
        self._describe_stage(run)
        self._describe_makers(event.inputs)
        return f"MLflow run {run}"

    @hookimpl
    @_guarded
    def metrics_logged(self, events: list[events.MetricsLogged]) -> None:
        """Write numbers; those that are not finite are named in a tag instead, since MLflow would show a number."""
        run = self._run_of(events[0].run)
        found = [metric for event in events for metric in _metrics(event.values, event.time, event.step)]
        self.store.log_metrics(run, found)
        spoilt = [f"{name} = {value} at step {event.step}" for event in events for name, value in _nonfinite(event.values)]
        if spoilt:
            _log.warning("run %s: not finite: %s", run, "; ".join(spoilt[:5]))
            if tags.NONFINITE not in self.store.client.get_run(run).data.tags:
                self.store.set_tags(run, {tags.NONFINITE: "; ".join(spoilt[:20])})

    @hookimpl
    @_guarded
    def artifact_logged(self, event: events.ArtifactLogged, file: str) -> None:
        """Write a table, chart or text in the forms that the UI previews."""
        run = self._run_of(event.run)
        name = tags.key(event.name).replace("/", "_").replace(":", "_")
        source = Path(file)
        if event.content == "text":
            self._log_text(run, f"texts/{name}.md", source.read_text(encoding="utf-8"))
        elif event.content == "chart":
            self._log_chart(run, name, source)
        else:
            self._log_table(run, name, event.title, json.loads(source.read_text(encoding="utf-8")))

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
        self.store.set_tags(run, {tags.OUTPUTS: description.as_records([*others, asdict(event.artifact)])})

    @hookimpl
    @_guarded
    def outputs_hashed(self, event: events.OutputsHashed) -> None:
        """Note the outputs' hashes, and record the models among them."""
        run = self._run_of(event.run)
        self.store.set_tags(run, {tags.output_digest(path): digest for path, digest in event.outputs.items()})
        record = self.store.client.get_run(run)
        for model in _models_of(record):
            self._log_model(model, final=record.data.tags[tags.KIND] == FINAL_KIND)
        self._describe_stage(run)

    @hookimpl
    @_guarded
    def stage_finished(self, event: events.StageFinished) -> None:
        """Close the run with its results."""
        run = self._run_of(event.run)
        self.store.log_metrics(run, list(_metrics(event.metrics, event.time, None)))
        found = {
            tags.SECONDS: f"{event.seconds:.3f}",
            tags.PEAK_MEMORY: str(event.peak_memory),
            tags.RESULTS: json.dumps(event.metrics),
        }
        spoilt = [f"{name} = {value}" for name, value in _nonfinite(event.metrics)]
        if spoilt:
            found[tags.NONFINITE] = "; ".join(spoilt)
        self.store.set_tags(run, found)
        if tags.ERROR in self.store.client.get_run(run).data.tags:  # of the attempt that was killed
            self.store.client.delete_tag(run, tags.ERROR)
        self._close(run, "FINISHED", event.time)

    @hookimpl
    @_guarded
    def stage_failed(self, event: events.StageFailed) -> None:
        """Close the run with its error, unless a later attempt has taken it up."""
        run = self._run_of(event.run)
        if float(self.store.client.get_run(run).data.tags.get(tags.STARTED, 0)) > event.time:
            return
        self.store.set_tags(run, {tags.ERROR: redaction.text(event.error)})
        self._log_text(run, "error.txt", redaction.text(f"{event.error}\n\n{event.traceback}".rstrip() + "\n"))
        self._close(run, event.status, event.time)

    @hookimpl
    @_guarded
    def stage_restored(self, event: events.StageRestored) -> None:
        """Link a stage that DVC did not run to the run that made its result."""
        from workbench_tracker_mlflow import description

        parent = self._parent(event.session)
        if parent is None:
            return
        origin = self._origin(event)
        record = {
            "stage": event.stage,
            "state": event.state,
            "outputs": event.outputs,
            "run": origin.info.run_id if origin is not None else "",
            "kind": origin.data.tags.get(tags.KIND, "") if origin is not None else "",
            "results": description.results_of(origin) if origin is not None else {},
        }
        if len(json.dumps(record)) > tags.LONGEST:
            record |= {"outputs": {}, "results": {}}
        self.store.set_tags(parent.info.run_id, {tags.cached(event.stage): json.dumps(record)})

    @hookimpl
    @_guarded
    def session_finished(self, event: events.SessionFinished) -> None:
        """Close the parent run: evaluation results, final model, description."""
        parent = self._parent(event.session)
        if parent is None:
            return
        children = self._children(parent.info.run_id)
        self._log_evaluations(parent, children, event.time)
        if event.status == "FINISHED":
            self._register_last(parent, children)
        self.store.client.set_terminated(parent.info.run_id, event.status, int(event.time * 1000))
        for child in children:
            self._describe_stage(child.info.run_id)
        self._describe_session(parent.info.run_id)

    def _run_of(self, run: str) -> str:
        """MLflow's id of a run.

        Raises:
            LookupError: its start was never written.
        """
        if run not in self._runs:
            found = self.store.find({tags.RUN: run})
            if not found:
                raise LookupError(f"run {run} is not in {self.store.uri}")
            self._runs[run] = found[0].info.run_id
        return self._runs[run]

    def _find_or_create(self, wanted: Mapping[str, str], known: Mapping[str, str], name: str, time: float) -> str:
        found = self.store.find(wanted)
        if found:
            run = str(found[0].info.run_id)
            self.store.set_tags(run, known)
        else:
            created = self.store.client.create_run(self.store.experiment, int(time * 1000), dict(known), name)
            run = str(created.info.run_id)
        if tags.RUN in wanted:
            self._runs[wanted[tags.RUN]] = run
        return run

    def _parent(self, session: str) -> Run | None:
        found = self.store.find({tags.SESSION: session, tags.ROLE: "session"})
        return found[0] if found else None

    def _children(self, parent: str) -> list[Run]:
        return self.store.find({tags.PARENT: parent}, limit=1000)[::-1]

    def _stage_tags(self, event: events.StageStarted, parent: Run | None) -> dict[str, str]:
        from workbench_tracker_mlflow import description

        known = {
            tags.ROLE: "stage",
            tags.RUN: event.run,
            tags.SESSION: event.session,
            tags.STAGE: event.stage,
            tags.ENTRY: event.entry,
            tags.KIND: event.kind,
            tags.PLUGIN: event.plugin,
            tags.FINGERPRINT: event.fingerprint,
            tags.COMMAND: redaction.text(event.command),
            tags.DIRECTORY: event.directory,
            tags.STARTED: repr(event.time),
            tags.EXPERIMENT: event.experiment,
            tags.INPUTS: description.as_records([asdict(artifact) for artifact in event.inputs]),
            **{tags.input_digest(artifact.path): artifact.digest for artifact in event.inputs},
        }
        if event.resumed_from:
            known[tags.RESUMED_FROM] = event.resumed_from
        if parent is not None:
            inherited = (tags.COMMIT, tags.BRANCH, tags.REMOTE, tags.DIRTY, tags.SOURCE_NAME, tags.SOURCE_TYPE)
            known |= {name: parent.data.tags[name] for name in inherited if name in parent.data.tags}
            known[tags.PARENT] = parent.info.run_id
        return known

    def _origin(self, event: events.StageRestored) -> Run | None:
        """The run of that stage that made exactly these outputs."""
        wanted = {tags.STAGE: event.stage} | {tags.output_digest(path): digest for path, digest in event.outputs.items()}
        if event.fingerprint:
            wanted[tags.FINGERPRINT] = event.fingerprint
        finished = [run for run in self.store.find(wanted, limit=20) if run.info.status == "FINISHED"] if event.outputs else []
        return finished[0] if finished else None

    def _close(self, run: str, status: str, time: float) -> None:
        self.store.client.set_terminated(run, status, int(time * 1000))
        self._describe_stage(run)
        parent = self.store.client.get_run(run).data.tags.get(tags.PARENT)
        if parent:
            self._describe_session(parent)

    def _describe_stage(self, run: str) -> None:
        from workbench_tracker_mlflow import description

        record = self.store.client.get_run(run)
        self.store.client.set_tag(run, tags.NOTE, description.of_stage(self.store, record))

    def _describe_session(self, run: str) -> None:
        from workbench_tracker_mlflow import description

        record = self.store.client.get_run(run)
        self.store.client.set_tag(run, tags.NOTE, description.of_session(self.store, record, self._children(run)))

    def _describe_makers(self, inputs: Sequence[events.Artifact]) -> None:
        """Let the runs that made the inputs name their new reader."""
        for artifact in inputs:
            makers = self.store.find({tags.output_digest(artifact.path): artifact.digest}) if artifact.digest else []
            for maker in makers:
                self._describe_stage(maker.info.run_id)

    def _log_files(self, run: str, files: Mapping[str, str]) -> None:
        for name, path in files.items():
            if Path(path).is_file():
                text = Path(path).read_text(encoding="utf-8", errors="replace")
                self._log_text(run, name if Path(name).suffix in _PREVIEWED else f"{name}.txt", text)

    def _copy_session_files(self, parent: Run, run: str) -> None:
        """Params, pipeline and diff stand with each stage too: a reader arrives at a stage from anywhere."""
        with tempfile.TemporaryDirectory() as folder:
            for item in self.store.client.list_artifacts(parent.info.run_id):
                if not item.is_dir and item.path in ("params.yaml", "changes.diff.txt"):
                    local = self.store.client.download_artifacts(parent.info.run_id, item.path, folder)
                    self.store.client.log_artifact(run, local)

    def _log_json(self, run: str, name: str, content: Mapping[str, object]) -> None:
        self._log_text(run, name, redaction.text(json.dumps(content, indent=1, sort_keys=True)))

    def _log_text(self, run: str, name: str, text: str) -> None:
        with _scratch_file(Path(name).name) as file:
            file.write_text(text, encoding="utf-8", errors="backslashreplace")
            self.store.client.log_artifact(run, str(file), str(Path(name).parent) if "/" in name else None)

    def _log_chart(self, run: str, name: str, source: Path) -> None:
        from workbench_tracker_mlflow import pictures

        with _scratch_file(f"{name}.png") as file:
            pictures.draw(Chart(**json.loads(source.read_text(encoding="utf-8"))), file)
            self.store.client.log_artifact(run, str(file), "charts")

    def _log_table(self, run: str, name: str, title: str, rows: Sequence[Mapping[str, object]]) -> None:
        from workbench_tracker_mlflow import tables

        self._log_text(run, f"tables/{name}.csv", tables.as_csv(rows))
        self._log_text(run, f"tables/{name}.html", tables.as_html(title, rows))
        self._log_text(run, f"tables/{name}.json", tables.as_split_json(rows))
        known = tags.read_json(self.store.client.get_run(run).data.tags, tags.LOGGED_ARTIFACTS, [])
        entry = {"path": f"tables/{name}.json", "type": "table"}
        if entry not in known:
            self.store.set_tags(run, {tags.LOGGED_ARTIFACTS: json.dumps([*known, entry])})

    def _log_input_models(self, run: str, inputs: Sequence[events.Artifact]) -> None:
        from mlflow.entities import LoggedModelInput
        from workbench_tracker_mlflow import models

        found = [models.find(self.store, artifact.digest) for artifact in inputs if artifact.format == "model" and artifact.digest]
        known = [LoggedModelInput(model) for model in found if model is not None]
        if known:
            self.store.client.log_inputs(run, models=known)

    def _log_model(self, model: Model, *, final: bool) -> None:
        from workbench_tracker_mlflow import models

        workspace = Path(self.store.client.get_run(model.run).data.tags[tags.DIRECTORY])
        model_id = models.log(self.store, model, workspace)
        if final:
            name = self.config.registered_model or self.experiment
            done = models.register(self.store, name, model, model_id, workspace)
            self.store.set_tags(model.run, {tags.REGISTRATION: done})

    def _register_last(self, parent: Run, children: Sequence[Run]) -> None:
        """In a pipeline without the final kind, register the last model it made."""
        kinds = {run.data.tags.get(tags.KIND) for run in children} | {record["kind"] for record in _cached_records(parent)}
        if FINAL_KIND in kinds:
            return
        order = tags.read_json(parent.data.tags, tags.PIPELINE, [])
        made = [(order.index(model.stage) if model.stage in order else -1, model) for run in children for model in _models_of(run)]
        if made:
            self._log_model(max(made, key=lambda pair: pair[0])[1], final=True)

    def _log_evaluations(self, parent: Run, children: Sequence[Run], time: float) -> None:
        """Every evaluation's results on the parent too, so that the table of runs compares whole pipelines."""
        from workbench_tracker_mlflow import description

        results = {record["stage"]: record["results"] for record in _cached_records(parent) if record["kind"] == "eval"}
        results |= {run.data.tags[tags.STAGE]: description.results_of(run) for run in children if run.data.tags.get(tags.KIND) == "eval"}
        values = {f"{stage.replace('@', '/')}/{name}": value for stage, found in results.items() for name, value in found.items()}
        self.store.log_metrics(parent.info.run_id, list(_metrics(values, time, None)))


def _metrics(values: Mapping[str, float], time: float, step: int | None) -> Iterator[Metric]:
    from mlflow.entities import Metric

    for name, value in values.items():
        if math.isfinite(value):
            yield Metric(tags.key(name), value, int(time * 1000), step or 0)


def _nonfinite(values: Mapping[str, float]) -> list[tuple[str, float]]:
    return [(name, value) for name, value in values.items() if not math.isfinite(value)]


def _session_name(event: events.SessionStarted) -> str:
    if event.experiment:
        return event.experiment
    revision = f" · {event.commit[:7]}{'+' if event.dirty else ''}" if event.commit else ""
    return f"{redaction.text(event.command)[:60]}{revision}"


def _source_tags(event: events.SessionStarted) -> dict[str, str]:
    known = {tags.SOURCE_TYPE: "LOCAL", tags.SOURCE_NAME: redaction.text(event.command), tags.DIRTY: str(event.dirty).lower()}
    found = {tags.COMMIT: event.commit, tags.BRANCH: event.branch, tags.REMOTE: redaction.text(event.remote)}
    return known | {name: value for name, value in found.items() if value}


def _models_of(run: Run) -> Iterator[Model]:
    from workbench_tracker_mlflow.models import Model

    known = run.data.tags
    for record in tags.read_json(known, tags.OUTPUTS, []):
        digest = known.get(tags.output_digest(record["path"]))
        if record["format"] == "model" and digest:
            yield Model(record["path"], digest, run.info.run_id, known[tags.STAGE])


def _cached_records(parent: Run) -> list[Mapping[str, Any]]:
    names = [name for name in parent.data.tags if name.startswith(tags.CACHED)]
    return [record for name in names if (record := tags.read_json(parent.data.tags, name, None))]


@contextmanager
def _scratch_file(name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / name
