"""The LM Evaluation Harness on the pipeline's benchmark, or on tasks of its own."""

from __future__ import annotations

import math
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from workbench import hookimpl
from workbench.artifacts import benchmark
from workbench.artifacts.evaluation import Evaluation
from workbench.artifacts.table import Columns
from workbench.errors import ArtifactError, ParamsError, WorkbenchError
from workbench.estimate import Estimate, size_of
from workbench.kinds.eval import EvalStage
from workbench.models import cost as model_cost
from workbench.models import encoding, scoring
from workbench.plugin import Config, Plugin
from workbench.run import Chart, Run
from workbench_eval_lm_eval import scores
from workbench_eval_lm_eval.scores import Rule

if TYPE_CHECKING:
    from lm_eval.api.model import LM

    from workbench_eval_lm_eval.model import ScoringLM

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
    max_cut_share: float = Field(0.05, ge=0, le=1)
    """Share of questions that may lose their beginning because they are longer than the model's window; above it, an error."""
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
        "weight": "double",
        "cut": "int64",
        "capped": "int64",
    }

    def estimate(self, inputs: Mapping[str, Path]) -> Estimate:
        """Every choice read after its question and alone; tasks of the harness's own are taken to be like the benchmark."""
        asked = self.config.questions * QUESTION_TOKENS
        whole = TOKENS_PER_BYTE * size_of({flow: path for flow, path in inputs.items() if flow == "benchmark"})
        return model_cost.of_reading(inputs["model"], asked or whole, self.config.batch_tokens)

    def needed(self) -> frozenset[str]:
        """The benchmark, unless tasks are named."""
        return super().needed() | (frozenset() if self.config.tasks else {"benchmark"})

    def evaluate(self, model: Path, data: Mapping[str, Path], run: Run) -> Evaluation:
        """Rehearse without a model, let the harness ask the model, then turn its samples into scored examples."""
        from workbench_eval_lm_eval.model import Rehearsal

        with sandboxed_templates():
            tasks = self._load_tasks(data.get("benchmark"), run)
            rule = scores.one_rule({name: scores.rule_of(name, task, self.config.metric) for name, task in tasks.items()})
            for task in tasks.values():
                task.aggregation().update({name: _bounded(how) for name, how in task.aggregation().items()})
            with _refusing(tasks, self.config.metric):
                self._examples(self._ask(Rehearsal(), tasks, run.seed), rule)
            causal = scoring.load(model, run.compute.device)
            lm = self._scoring(causal, run)
            results = self._ask(lm, tasks, run.seed)
        examples, unscored = self._examples(results, rule)
        examples = [row | lm.losses(row.pop("asked")) for row in examples]
        harness = _harness_metrics(results["results"])
        counts = {"questions_without_score": unscored, "answers_with_merged_token": lm.merged}
        counts["answers_capped"] = sum(row["capped"] > 0 for row in examples)
        metrics = (
            harness | _own_metrics(examples, rule) | harness | {name: float(number) for name, number in counts.items() if number}
        )
        _show_positions(examples, run)
        weight = "weight" if any(row["weight"] is not None for row in examples) else None
        return Evaluation(metrics, rule.score, rule.higher_is_better, examples, weight=weight, of_corpus=rule.form == "corpus")

    def _examples(self, results: Mapping[str, Any], rule: Rule) -> tuple[list[dict[str, Any]], int]:
        """The scored examples of all tasks, and how many samples have no score."""
        samples = {task: _one_filter(logged) for task, logged in sorted(results["samples"].items())}
        ids = _identities(samples)
        examples: list[dict[str, Any]] = []
        for task, logged in samples.items():
            rows = [
                (_example(task, identity, sample, self.config.metric), sample[self.config.metric])
                for identity, sample in zip(ids[task], logged, strict=True)
                if scores.has_score(sample.get(self.config.metric), rule)
            ]
            if not rows:
                raise ArtifactError(f"no question of task {task!r} has a score", _TASKS, "look at its data")
            found = scores.score([value for _, value in rows], [row["group"] for row, _ in rows], rule)
            weights: Sequence[float | None] = found.weights or [None] * len(rows)
            for (row, _), value, weight, group in zip(rows, found.values, weights, found.groups, strict=True):
                examples.append(row | {"score": value, "weight": weight, "group": group})
        return examples, sum(map(len, samples.values())) - len(examples)

    def _load_tasks(self, folder: Path | None, run: Run) -> dict[str, Any]:
        """The harness's task objects by name.

        Raises:
            ArtifactError: the benchmark is asked for and absent.
            ParamsError: a task is unknown or executes generated code.
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
            if task.get_config("unsafe_code"):
                raise _unsafe(name)
            task.set_config(key="num_fewshot", value=self.config.num_fewshot)
        return tasks

    def _benchmark(self, folder: Path | None, run: Run) -> dict[str, Any]:
        """The pipeline's own. Worked examples are questions of it; told so, the harness leaves out the one that it asks."""
        if folder is None:
            fix = "give the stage --benchmark PATH in dvc.yaml, or name `tasks`"
            raise ParamsError("no task is named, and the stage has no benchmark", _TASKS, fix)
        spec = benchmark_spec(folder, run.scratch)
        shown = {"fewshot_split": spec.get("test_split")} if self.config.num_fewshot else {}
        return shown | spec

    def _scoring(self, model: scoring.CausalModel, run: Run) -> ScoringLM:
        from workbench_eval_lm_eval.model import ScoringLM

        lm = ScoringLM(
            model,
            batch_tokens=self.config.batch_tokens,
            neutral=self._neutral(model),
            seed=run.seed,
            max_cut_share=self.config.max_cut_share,
            progress=lambda done, total: run.progress(done, total, "tokens", "log-likelihoods"),
        )
        lm.rendered = self.config.apply_chat_template
        return lm

    def _ask(self, lm: LM, tasks: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        from lm_eval.evaluator import evaluate

        for task in tasks.values():
            task.set_fewshot_seed(seed=seed)
        results: Mapping[str, Any] = evaluate(
            lm=lm,
            task_dict={"tasks": dict(tasks), "groups": {}, "group_map": {}},
            samples=self._chosen(tasks, seed),
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


@contextmanager
def _refusing(tasks: Mapping[str, Any], metric: str) -> Iterator[None]:
    """Say of what the harness cannot do with a task that it cannot, before a model is loaded.

    Raises:
        ParamsError: the harness, or a function of the task, fails on answers of the right form.
    """
    from jinja2.exceptions import SecurityError

    try:
        yield
    except (WorkbenchError, SecurityError):
        raise
    except Exception as error:
        names = ", ".join(sorted(tasks))
        raise ParamsError(
            f"the harness cannot compute the metrics of {names}, {metric} among them: {type(error).__name__}: {error}",
            _TASKS,
            "take the metric out of the task that does not fit its questions, or name another task",
        ) from error


def _bounded(aggregate: Callable[[Sequence[Any]], float]) -> Callable[[Sequence[Any]], float]:
    """The same, infinite where it overflows: exp(nats per word) does for bad models and for languages without blanks."""

    def compute(items: Sequence[Any]) -> float:
        try:
            return aggregate(items)
        except OverflowError:
            return math.inf

    return compute


def _one_filter(samples: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A task with several answer filters logs every document once for each; the first filter counts."""
    return [sample for sample in samples if sample["filter"] == samples[0]["filter"]]


def _identities(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[str]]:
    """An id for every sample: its document's own if no other has it, else the task and the document's place in it."""
    own = {task: [_field(sample["doc"], "id") for sample in logged] for task, logged in samples.items()}
    counts = Counter(name for names in own.values() for name in names)
    return {
        task: [
            name if name and counts[name] == 1 else f"{task}-{sample['doc_id']}"
            for name, sample in zip(own[task], logged, strict=True)
        ]
        for task, logged in samples.items()
    }


def _field(document: object, name: str) -> str:
    value = document.get(name) if isinstance(document, Mapping) else None
    return "" if value is None else str(value)


def _example(task: str, identity: str, sample: Mapping[str, Any], metric: str) -> dict[str, Any]:
    return {
        "id": identity,
        "group": _field(sample["doc"], "group") or identity,
        "task": task,
        "question": encoding.unmarked(str(sample["arguments"][0][0])),
        "plain": sample.get("acc"),
        "asked": sample["arguments"],
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
    """The harness's own aggregates, with the task's name before them when there are several; for one that is not finite,
    ``….not_finite`` is 1.
    """
    metrics: dict[str, float] = {}
    for task, values in sorted(results.items()):
        prefix = f"{task}." if len(results) > 1 else ""
        for name, value in values.items():
            metric, _, filter_ = name.partition(",")
            if filter_ and isinstance(value, int | float) and not metric.endswith("_stderr"):
                key = prefix + (metric if filter_ == "none" else f"{metric}.{filter_}")
                metrics |= {key: float(value)} if math.isfinite(value) else {f"{key}.not_finite": 1.0}
    return metrics


def _own_metrics(examples: Sequence[Mapping[str, Any]], rule: Rule) -> dict[str, float]:
    weights = [1.0 if row["weight"] is None else row["weight"] for row in examples]
    mean = math.fsum(weight * row["score"] for weight, row in zip(weights, examples, strict=True)) / math.fsum(weights)
    metrics = {rule.score: mean, "questions": float(len(examples))}
    metrics["questions_cut"] = float(sum(row["cut"] > 0 for row in examples))
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
