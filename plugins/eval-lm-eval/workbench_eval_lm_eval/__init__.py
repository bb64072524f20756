"""The LM Evaluation Harness on the pipeline's benchmark, or on tasks of its own."""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from workbench import hookimpl
from workbench.artifacts import benchmark
from workbench.artifacts.evaluation import Evaluation
from workbench.artifacts.table import Columns
from workbench.errors import ArtifactError, ParamsError
from workbench.estimate import Estimate, size_of
from workbench.kinds.eval import EvalStage
from workbench.models import cost as model_cost
from workbench.models import encoding, scoring
from workbench.plugin import Config, Plugin
from workbench.run import Chart, Run

MUTUAL_INFORMATION = "acc_mutual_info"
QUESTION_TOKENS = 400
"""Tokens of a question with each of its choices, the choices once more alone, for plans."""
TOKENS_PER_BYTE = 2
"""The same for a byte of a benchmark, whose Parquet is compressed."""
_TASKS = "params.yaml, with.tasks of this evaluation"
UNSAFE = re.compile(r"^unsafe_code:\s*true\b", re.MULTILINE | re.IGNORECASE)
"""How a task's file says that it executes generated code."""


class LmEvalConfig(Config):
    """Which tasks, how the model is asked, and which metric counts."""

    tasks: tuple[str, ...] = ()
    """Names of the harness's tasks; none takes the benchmark of this pipeline."""
    metric: str = MUTUAL_INFORMATION
    """The harness's name of the headline metric, which becomes the examples' score."""
    apply_chat_template: bool = False
    """Ask in the model's chat template, as a user; otherwise the question and the answer are plain text."""
    neutral_question: str = ""
    """The question behind log p(choice | nothing), in the same frame; empty: the start token alone, as in the harness."""
    num_fewshot: int = Field(0, ge=0)
    """Worked examples before each question."""
    questions: int = Field(0, ge=0)
    """Questions per task, chosen by the seed; 0 takes all."""
    batch_tokens: int = Field(4_096, ge=1)
    """Tokens of a batch, padding included; changes the last bits of the scores."""


class LmEval(EvalStage[LmEvalConfig]):
    """The LM Evaluation Harness (Gao et al. 2024, https://doi.org/10.5281/zenodo.12608602)."""

    name = "lm-eval"
    Config = LmEvalConfig
    inputs: ClassVar[Mapping[str, str]] = {"model": "model", "benchmark": "benchmark"}
    optional: ClassVar[frozenset[str]] = frozenset({"benchmark"})
    columns: ClassVar[Columns] = {
        "task": "string",
        "question": "string",
        "chosen": "int64",
        "answer": "int64",
        "choices": "int64",
        "plain": "double",
        "answer_only": "double",
    }

    def estimate(self, inputs: Mapping[str, Path]) -> Estimate:
        """Every choice read after its question and alone; tasks of the harness's own are taken to be like the benchmark."""
        asked = self.config.questions * QUESTION_TOKENS
        whole = TOKENS_PER_BYTE * size_of({flow: path for flow, path in inputs.items() if flow == "benchmark"})
        return model_cost.of_reading(inputs["model"], asked or whole, self.config.batch_tokens)

    def evaluate(self, model: Path, data: Mapping[str, Path], run: Run) -> Evaluation:
        """Let the harness ask, then turn its samples into scored examples."""
        with sandboxed_templates():
            tasks = self._load_tasks(data.get("benchmark"), run)
            results = self._ask(model, tasks, run)
        examples = [
            _example(task, sample, self.config.metric)
            for task in sorted(tasks)
            for sample in _one_filter(results["samples"][task])
        ]
        metrics = _harness_metrics(results["results"]) | _own_metrics(examples, self.config.metric)
        _show_positions(examples, run)
        return Evaluation(metrics, self.config.metric, _higher_is_better(tasks, self.config.metric), examples)

    def _load_tasks(self, folder: Path | None, run: Run) -> dict[str, Any]:
        """The harness's task objects by name.

        Raises:
            ArtifactError: the benchmark is asked for and absent.
            ParamsError: a task is unknown, lacks the metric or executes generated code.
        """
        import datasets
        from lm_eval.tasks import TaskManager

        datasets.disable_progress_bars()
        specs: list[Any] = list(self.config.tasks) or [self._benchmark(folder, run)]
        manager = TaskManager(include_defaults=bool(self.config.tasks))
        for name in self.config.tasks:
            _require_safe(name, manager.task_index.get(name))
        try:
            tasks: dict[str, Any] = manager.load(specs)["tasks"]
        except OSError as error:
            raise ArtifactError(
                f"the harness could not load a task: {error}", _TASKS, "fetch its data from the hub first"
            ) from error
        for name, task in tasks.items():
            _require_usable(name, task, self.config.metric)
            task.set_config(key="num_fewshot", value=self.config.num_fewshot)
            task.set_fewshot_seed(seed=run.seed)
        return tasks

    def _benchmark(self, folder: Path | None, run: Run) -> dict[str, Any]:
        """The pipeline's own. Worked examples are questions of it; told so, the harness leaves out the one that it asks."""
        if folder is None:
            fix = "give the stage --benchmark PATH in dvc.yaml, or name `tasks`"
            raise ParamsError("no task is named, and the stage has no benchmark", _TASKS, fix)
        spec = benchmark_spec(folder, run.scratch)
        shown = {"fewshot_split": spec.get("test_split")} if self.config.num_fewshot else {}
        return shown | spec

    def _ask(self, model: Path, tasks: Mapping[str, Any], run: Run) -> Mapping[str, Any]:
        from lm_eval.evaluator import evaluate

        from workbench_eval_lm_eval.model import ScoringLM

        causal = scoring.load(model, run.compute.device)
        lm = ScoringLM(
            causal,
            batch_tokens=self.config.batch_tokens,
            neutral=self._neutral(causal),
            seed=run.seed,
            progress=lambda done, total: run.progress(done, total, "tokens", "log-likelihoods"),
        )
        lm.rendered = self.config.apply_chat_template
        results: Mapping[str, Any] = evaluate(
            lm=lm,
            task_dict={"tasks": dict(tasks), "groups": {}, "group_map": {}},
            samples=self._chosen(tasks, run.seed),
            bootstrap_iters=0,
            apply_chat_template=self.config.apply_chat_template,
            fewshot_as_multiturn=self.config.apply_chat_template,
        )
        return results

    def _neutral(self, model: scoring.CausalModel) -> str:
        question = self.config.neutral_question
        if not (question and self.config.apply_chat_template):
            return question
        return model.render([{"role": "user", "content": question}], add_generation_prompt=True)

    def _chosen(self, tasks: Mapping[str, Any], seed: int) -> dict[str, list[int]] | None:
        if not self.config.questions:
            return None
        sizes = {name: len(task.eval_docs) for name, task in tasks.items()}
        return {
            name: sorted(random.Random(seed).sample(range(size), min(size, self.config.questions)))
            for name, size in sizes.items()
        }


def benchmark_spec(folder: Path, cache: Path) -> dict[str, Any]:
    """The benchmark's task description with its data files made absolute and cached below ``cache``.

    The library names a lock file after the cache's whole path, too long a name in a deep workspace; so the path is relative.

    Raises:
        ArtifactError: there is no benchmark, or its task reads or runs anything but the Parquet files beside it.
    """
    file = folder / benchmark.TASK_FILE
    if not file.is_file():
        raise ArtifactError("there is no benchmark", str(folder), "add the data set `benchmark`, or name the harness's `tasks:`")
    spec = benchmark.description(folder)
    arguments = spec.get("dataset_kwargs")
    files = arguments.get("data_files") if isinstance(arguments, dict) else None
    if spec.get("dataset_path") != "parquet" or not isinstance(files, dict) or not files:
        raise ArtifactError(
            "the task does not read Parquet files", str(file), "set dataset_path: parquet and dataset_kwargs.data_files"
        )
    _require_metrics_of_the_harness(spec, file)
    beside = {path.name: str(path.resolve()) for path in folder.glob("*.parquet")}
    for split, name in files.items():
        if str(name) not in beside:
            fix = f"name a file that lies beside it: {', '.join(sorted(beside)) or 'there is none'}"
            raise ArtifactError(f"data_files.{split} is {name!r}", str(file), fix)
    absolute = {split: beside[name] for split, name in files.items()}
    return spec | {"dataset_kwargs": {"data_files": absolute, "cache_dir": os.path.relpath(cache / "datasets")}}


def _require_metrics_of_the_harness(spec: Mapping[str, Any], file: Path) -> None:
    """Refuse a metric that the harness would load from elsewhere: it runs the code of a folder or of the Hub."""
    from lm_eval.api import metrics  # noqa: F401  # fills the registry
    from lm_eval.api.registry import METRIC_REGISTRY

    for entry in spec.get("metric_list") or ():
        name = entry.get("metric") if isinstance(entry, dict) else entry
        if str(name) not in METRIC_REGISTRY or (isinstance(entry, dict) and entry.get("hf_evaluate")):
            raise ArtifactError(f"metric {name!r} is none of the harness's own", str(file), "take one that lm-eval comes with")


@contextmanager
def sandboxed_templates() -> Iterator[None]:
    """Let the harness render the templates of tasks as transformers does those of chats, where they reach no code.

    Its own environment would run ``{{ cycler.__init__.__globals__.os.system(...) }}``, and a task is data.

    Raises:
        ArtifactError: a template asked for more than data.
    """
    from jinja2.exceptions import SecurityError
    from jinja2.sandbox import SandboxedEnvironment
    from lm_eval import utils

    ordinary = utils.env
    sandbox = SandboxedEnvironment(undefined=ordinary.undefined, keep_trailing_newline=ordinary.keep_trailing_newline)
    sandbox.filters.update(ordinary.filters)
    utils.env = sandbox
    try:
        yield
    except SecurityError as error:
        fix = "let its templates use the columns of the questions only"
        raise ArtifactError(f"a template of the task reaches for code: {error}", _TASKS, fix) from error
    finally:
        utils.env = ordinary


def _require_safe(name: str, entry: Any) -> None:
    """Refuse before loading: what such a task needs to execute code is fetched while it loads."""
    if entry is None:
        raise ParamsError(f"the harness has no task {name!r}", _TASKS, "`lm-eval ls tasks` prints the names")
    if entry.yaml_path and UNSAFE.search(entry.yaml_path.read_text(encoding="utf-8")):
        raise _unsafe(name)


def _unsafe(name: str) -> ParamsError:
    return ParamsError(f"task {name!r} executes what the model writes", _TASKS, "remove it; there is no sandbox for it here")


def _require_usable(name: str, task: Any, metric: str) -> None:
    if task.get_config("unsafe_code"):
        raise _unsafe(name)
    offered = sorted(task.aggregation())
    if metric not in offered:
        raise ParamsError(
            f"task {name!r} has no metric {metric!r}",
            "params.yaml, with.metric of this evaluation",
            f"choose one of {', '.join(offered)}",
        )


def _higher_is_better(tasks: Mapping[str, Any], metric: str) -> bool:
    return all(bool(task.higher_is_better()[metric]) for task in tasks.values())


def _one_filter(samples: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A task with several answer filters logs every document once for each; the first filter counts."""
    return [sample for sample in samples if sample["filter"] == samples[0]["filter"]]


def _example(task: str, sample: Mapping[str, Any], metric: str) -> dict[str, Any]:
    document = sample["doc"]
    identity = str(document.get("id") or f"{task}-{sample['doc_id']}")
    return {
        "id": identity,
        "group": str(document.get("group") or identity),
        "score": float(sample[metric]),
        "task": task,
        "question": encoding.unmarked(str(sample["arguments"][0][0])),
        "plain": sample.get("acc"),
    } | _choice(sample, metric)


def _choice(sample: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """What was chosen, and whether the unconditional likelihood alone is right; empty unless mutual information was measured."""
    if MUTUAL_INFORMATION not in sample["metrics"] or not isinstance(sample["target"], int):
        return {"chosen": None, "answer": None, "choices": None, "answer_only": None}
    values = [float(response[0]) for response in sample["filtered_resps"]]
    number = len(values) // 2
    after_question, alone = values[:number], values[number:]
    gains = [first - second for first, second in zip(after_question, alone, strict=True)]
    return {
        "chosen": _argmax(gains if metric == MUTUAL_INFORMATION else after_question),
        "answer": sample["target"],
        "choices": number,
        "answer_only": float(_argmax(alone) == sample["target"]),
    }


def _argmax(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)


def _harness_metrics(results: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The harness's own aggregates, with the task's name before them when there are several."""
    metrics: dict[str, float] = {}
    for task, values in sorted(results.items()):
        prefix = f"{task}." if len(results) > 1 else ""
        for name, value in values.items():
            metric, _, filter_ = name.partition(",")
            if filter_ and isinstance(value, int | float) and "stderr" not in metric:
                metrics[prefix + (metric if filter_ == "none" else f"{metric}.{filter_}")] = float(value)
    return metrics


def _own_metrics(examples: Sequence[Mapping[str, Any]], metric: str) -> dict[str, float]:
    metrics = {metric: sum(row["score"] for row in examples) / len(examples), "questions": float(len(examples))}
    choices = [row for row in examples if row["choices"]]
    if choices:
        positions = Counter(row["answer"] for row in choices)
        metrics["answer_only"] = sum(row["answer_only"] for row in choices) / len(choices)
        metrics["chance"] = sum(1 / row["choices"] for row in choices) / len(choices)
        metrics["most_frequent_position"] = max(positions.values()) / len(choices)
    return metrics


def _show_positions(examples: Sequence[Mapping[str, Any]], run: Run) -> None:
    """Answers by position beside what the model chose: both must be flat, or position alone earns points."""
    rows = [row for row in examples if row["choices"]]
    if not rows:
        return
    places = list(range(max(row["choices"] for row in rows)))
    series = {
        name: [float(sum(row[column] == place for row in rows)) for place in places]
        for name, column in (("right", "answer"), ("chosen", "chosen"))
    }
    labels = [str(place + 1) for place in places]
    run.chart(Chart("positions", "Right answers and choices by position", "position of the choice", "questions", labels, series))


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """The classes that this distribution offers."""
    return [LmEval]
