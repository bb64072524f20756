"""Each metric that `lm-eval` accepts calls a damaged model worse, and is the harness's own; the others are refused early."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from tiny_model import SENTENCES, build_model, documents, turn, write_corpus
from workbench_eval_lm_eval import LmEval, LmEvalConfig
from workbench_eval_perplexity import Perplexity, PerplexityConfig
from workbench_eval_preference import PreferenceAccuracy, PreferenceConfig

from workbench.artifacts import evaluation, examples
from workbench.artifacts.corpus import Document
from workbench.artifacts.examples import Preference
from workbench.comparison import scores
from workbench.errors import ParamsError, WorkbenchError
from workbench.models import scoring
from workbench.testing import make_run

ASKED = 24
QUESTIONS = [f"Say line {i} of {SENTENCES[i % 6].split()[1]}:" for i in range(ASKED)]
ANSWERS = [SENTENCES[i * 5 % 6] for i in range(ASKED)]
CHOICE = ["acc", "acc_norm", "acc_bytes", "acc_mutual_info", "mcc", "f1", "brier_score"]
TEXT = ["exact_match", "bleu", "chrf", "chrf++", "ter"]
ROLLING = ["word_perplexity", "byte_perplexity", "bits_per_byte"]
LIKELIHOOD = ["acc", "perplexity"]
TASKS: dict[str, dict[str, Any]] = {
    "choice": {"output_type": "multiple_choice", "doc_to_choice": "{{choices}}", "doc_to_target": "answer"},
    "text": {
        "output_type": "generate_until",
        "doc_to_target": " {{text}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 30},
    },
    "rolling": {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{question}} {{text}}"},
    "likelihood": {"output_type": "loglikelihood", "doc_to_target": " {{text}}"},
}
METRICS = {"choice": CHOICE, "text": TEXT, "rolling": ROLLING, "likelihood": LIKELIHOOD}
SCORES = {
    "perplexity": "negative_log_likelihood",
    "word_perplexity": "nats_per_word",
    "byte_perplexity": "nats_per_byte",
}
"""What an example's score is called, where it is not the metric."""


def write_task(folder: Path, kind: str, metrics: list[Any], rows: list[dict[str, Any]] | None = None, **keys: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = rows or [
        {
            "question": question,
            "text": text,
            "choices": [
                SENTENCES[(i * 5 + 2 - i % 2) % 6 if i % 2 else i * 5 % 6],
                text if i % 2 else SENTENCES[(i * 5 + 2) % 6],
            ],
            "answer": i % 2,
        }
        for i, (question, text) in enumerate(zip(QUESTIONS, ANSWERS, strict=True))
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "test-00000.parquet")
    task = {
        "task": f"tiny_{kind}",
        "dataset_path": "parquet",
        "dataset_kwargs": {"data_files": {"test": "test-00000.parquet"}},
        "test_split": "test",
        "doc_to_text": "{{question}}",
        "target_delimiter": " ",
        "metric_list": [{"metric": metric} if isinstance(metric, str) else metric for metric in metrics],
    }
    (folder / "task.yaml").write_text(yaml.safe_dump(task | TASKS[kind] | keys))
    return folder


def evaluate(folder: Path, model: Path, benchmark: Path, **config: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    folder.mkdir(parents=True, exist_ok=True)
    inputs = {"model": model, "benchmark": benchmark}
    LmEval(LmEvalConfig(**config)).execute(inputs, {"out": folder / "out"}, make_run(folder))
    evaluation.validate(folder / "out")
    return evaluation.read_record(folder / "out"), evaluation.read_examples(folder / "out")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model that knows the answers by heart, and two that are damaged: by noise on its weights, and by never having learnt."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("models")
    untrained = build_model(folder, window=96)
    model = scoring.load(untrained, "cpu")
    texts = [f"{question} {text}" for question, text in zip(QUESTIONS, ANSWERS, strict=True)]
    texts += [f"<|user|>{question}<|end|><|assistant|>{text}" for question, text in zip(QUESTIONS, ANSWERS, strict=True)]
    rows = [torch.tensor([[model.start, *tokens, model.tokenizer.eos_token_id]]) for tokens in model.encode(texts)]
    width = max(row.shape[1] for row in rows)
    inputs = torch.cat([torch.nn.functional.pad(row, (0, width - row.shape[1]), value=0) for row in rows])
    labels = torch.cat([torch.nn.functional.pad(row, (0, width - row.shape[1]), value=-100) for row in rows])
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.model.parameters(), lr=5e-3)
    for _ in range(250):
        loss = model.model(input_ids=inputs, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    found = {"untrained": untrained, "good": folder / "good", "noisy": folder / "noisy"}
    for name in ("good", "noisy"):
        if name == "noisy":
            with torch.no_grad():
                for weight in model.model.parameters():
                    weight += 0.5 * weight.std() * torch.randn_like(weight) if weight.ndim > 1 else 0
        model.model.save_pretrained(str(found[name]))
        model.tokenizer.save_pretrained(str(found[name]))
    assert AutoModelForCausalLM.from_pretrained(str(found["good"]))
    return found


@pytest.mark.parametrize(("kind", "metric"), [(kind, metric) for kind, metrics in METRICS.items() for metric in metrics])
def test_each_metric_calls_damaged_models_worse(tmp_path: Path, models: dict[str, Path], kind: str, metric: str) -> None:
    task = write_task(tmp_path / "task", kind, METRICS[kind])
    for name, model in models.items():
        record, rows = evaluate(tmp_path / name, model, task, metric=metric)
        weights = [row["weight"] or 1.0 for row in rows]
        mean = sum(row["score"] * weight for row, weight in zip(rows, weights, strict=True)) / sum(weights)
        value = record["metrics"][metric]
        assert mean == pytest.approx(math.log(value) if metric in SCORES else value, abs=1e-9)
    for damaged in ("noisy", "untrained"):
        found = scores.compare(tmp_path / "good" / "out", tmp_path / damaged / "out")
        assert isinstance(found, scores.ScoreChange)
        assert (found.verdict, found.score) == ("worse", SCORES.get(metric, metric))


def test_perplexity_and_preference_call_damaged_models_worse(tmp_path: Path, models: dict[str, Path]) -> None:
    pairs = list(zip(QUESTIONS, ANSWERS, strict=True))
    write_corpus(tmp_path / "heldout", [Document(f"{question} {text}", question, {"origin": ""}) for question, text in pairs])
    write_corpus(tmp_path / "train", documents(20))
    others = {text: SENTENCES[place - 1] for place, text in enumerate(SENTENCES)}
    preferences = [
        Preference((turn("user", question),), (turn("assistant", text),), (turn("assistant", others[text]),), "heldout")
        for question, text in pairs
    ]
    train = Preference((turn("user", "x"),), (turn("assistant", "y"),), (turn("assistant", "z"),))
    examples.write(tmp_path / "preferences", [train, *preferences], Preference.schema)
    read = {name: tmp_path / name for name in ("heldout", "train")}
    for name, model in models.items():
        (tmp_path / name).mkdir()
        Perplexity(PerplexityConfig(samples=0)).execute(
            {"model": model, **read}, {"out": tmp_path / name / "perplexity"}, make_run(tmp_path / name)
        )
        inputs = {"model": model, "preferences": tmp_path / "preferences"}
        plugin = PreferenceAccuracy(PreferenceConfig(scoring="likelihood"))
        plugin.execute(inputs, {"out": tmp_path / name / "preference"}, make_run(tmp_path / name))
    for damaged in ("noisy", "untrained"):
        found = scores.compare(tmp_path / "good" / "perplexity", tmp_path / damaged / "perplexity")
        assert isinstance(found, scores.ScoreChange)
        assert found.verdict == "worse"
    ranked = {name: evaluation.read_record(tmp_path / name / "preference") for name in models}
    accuracy = {name: record["metrics"]["accuracy"] for name, record in ranked.items()}
    assert all(record["higher_is_better"] for record in ranked.values())
    assert accuracy["good"] > max(accuracy["noisy"], accuracy["untrained"])  # all rows share answers: one group, no interval


COMMAND = """
import functools, lm_eval
lm_eval.simple_evaluate = functools.partial(lm_eval.simple_evaluate, bootstrap_iters=0)
from lm_eval.__main__ import cli_evaluate
cli_evaluate()
"""
"""`lm_eval` without its standard errors: 100,000 resamples of F1 and MCC, a quarter of an hour that no option leaves out."""


def harness(model: Path, task: Path, folder: Path) -> dict[str, float]:
    """What the harness's own command says of the same task and checkpoint."""
    content = yaml.safe_load((task / "task.yaml").read_text())
    content["dataset_kwargs"] = {"data_files": {"test": str(task / "test-00000.parquet")}, "cache_dir": str(folder / "cache")}
    (folder / "tasks").mkdir(parents=True)
    (folder / "tasks" / "task.yaml").write_text(yaml.safe_dump(content))
    command = [sys.executable, "-c", COMMAND, "run", "--model", "hf", "--model_args", f"pretrained={model},dtype=float32"]
    command += ["--tasks", content["task"], "--include_path", str(folder / "tasks"), "--device", "cpu", "--batch_size", "4"]
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "DISABLE_MULTIPROC": "1"}
    subprocess.run([*command, "--output_path", str(folder / "out.json")], check=True, capture_output=True, env=offline)
    (file,) = folder.rglob("*out*.json")
    values = json.loads(file.read_text())["results"][content["task"]]
    return {
        name.partition(",")[0]: value for name, value in values.items() if isinstance(value, float | int) and "stderr" not in name
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize("name", ["good", "noisy"])
def test_metrics_are_those_of_the_harness_s_own_command(tmp_path: Path, models: dict[str, Path], kind: str, name: str) -> None:
    task = write_task(tmp_path / "task", kind, METRICS[kind])
    record, _ = evaluate(tmp_path / "ours", models[name], task, metric=METRICS[kind][-1])
    expected = harness(models[name], task, tmp_path / "theirs")
    assert {metric: record["metrics"][metric] for metric in METRICS[kind]} == pytest.approx(
        {metric: expected[metric] for metric in METRICS[kind]}, rel=1e-5
    )


@pytest.mark.parametrize(
    ("kind", "metrics", "chosen", "message"),
    [
        ("likelihood", [{"metric": "perplexity", "aggregation": "mean"}], "perplexity", "aggregates it by mean"),
        ("likelihood", [{"metric": "perplexity", "higher_is_better": True}], "perplexity", "calls more of it better"),
        ("choice", [{"metric": "acc", "higher_is_better": False}], "acc", "calls less of it better"),
        ("choice", [{"metric": "acc", "aggregation": "perplexity"}], "acc", "aggregates it by perplexity"),
        ("choice", [{"metric": "acc", "aggregation": "median"}], "acc", "aggregates it by median"),
        ("choice", ["acc", "likelihood"], "acc", "the harness cannot compute the metrics of tiny_choice"),
        ("likelihood", ["acc", "bypass"], "bypass", "no score of one example"),
        ("likelihood", ["acc", "acc_all"], "acc_all", "no question of task 'tiny_likelihood' has a score"),
    ],
)
def test_what_has_no_score_with_a_direction_is_refused_before_the_model_loads(
    tmp_path: Path, kind: str, metrics: list[Any], chosen: str, message: str
) -> None:
    task = write_task(tmp_path / "task", kind, metrics)
    with pytest.raises(WorkbenchError, match=message):
        evaluate(tmp_path / "run", tmp_path / "there is no model", task, metric=chosen)


def test_f1_of_more_than_two_answers_is_refused_before_the_model_loads(tmp_path: Path) -> None:
    rows = [{"question": f"Which {i}?", "choices": list(SENTENCES[:3]), "answer": i % 3, "text": ""} for i in range(9)]
    task = write_task(tmp_path / "task", "choice", ["acc", "f1"], rows)
    with pytest.raises(ParamsError, match=r"cannot compute.*multiclass"):
        evaluate(tmp_path / "run", tmp_path / "there is no model", task, metric="acc")


def test_a_brier_score_of_questions_with_unlike_numbers_of_choices_is_refused_before_the_model_loads(tmp_path: Path) -> None:
    rows = [{"question": f"Which {i}?", "choices": list(SENTENCES[: 2 + i % 2]), "answer": 0, "text": ""} for i in range(9)]
    task = write_task(tmp_path / "task", "choice", ["acc", "brier_score"], rows)
    with pytest.raises(ParamsError, match="cannot compute"):
        evaluate(tmp_path / "run", tmp_path / "there is no model", task, metric="acc")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repetition_penalty": 1.2}, "'repetition_penalty' is not known"),
        ({"num_beams": 4}, "'num_beams' is not known"),
        ({"max_length": 20}, "'max_length' is not known"),
        ({"do_sample": True}, "without a temperature"),
        ({"max_gen_toks": 0}, "mean nothing"),
        ({"temperature": 1.0, "top_p": 2.0}, "mean nothing"),
    ],
)
def test_sampling_options_that_are_not_honoured_are_refused_before_the_model_loads(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    task = write_task(tmp_path / "task", "text", ["exact_match"], generation_kwargs={"until": ["\n"]} | options)
    with pytest.raises(ParamsError, match=message):
        evaluate(tmp_path / "run", tmp_path / "there is no model", task, metric="exact_match")


def test_ids_that_repeat_and_texts_of_no_byte(tmp_path: Path, models: dict[str, Path]) -> None:
    rows = [{"id": "same", "question": "", "text": "" if i == 2 else f"Text {i}."} for i in range(8)]
    task = write_task(tmp_path / "task", "rolling", ROLLING, rows, doc_to_target="{{text}}")
    record, examples = evaluate(tmp_path / "run", models["good"], task, metric="bits_per_byte")
    assert [row["id"] for row in examples] == [f"tiny_rolling-{i}" for i in range(8) if i != 2]
    assert record["metrics"]["questions_without_score"] == 1


def test_an_aggregate_that_overflows_is_said_and_the_scores_stay(tmp_path: Path, models: dict[str, Path]) -> None:
    """A text without blanks is one word, of more nats than a perplexity can be written in."""
    rows = [{"question": "", "text": f"{i}" + "wheel" * 150} for i in range(6)]
    task = write_task(tmp_path / "task", "rolling", ROLLING, rows, doc_to_target="{{text}}")
    record, examples = evaluate(tmp_path / "run", models["untrained"], task, metric="word_perplexity")
    assert record["metrics"]["word_perplexity.not_finite"] == 1
    assert "word_perplexity" not in record["metrics"]
    assert all(row["score"] > 710 for row in examples)


def test_a_corpus_metric_is_compared_over_the_same_examples_alone(tmp_path: Path, models: dict[str, Path]) -> None:
    task = write_task(tmp_path / "task", "text", TEXT)
    evaluate(tmp_path / "all", models["good"], task, metric="bleu")
    evaluate(tmp_path / "some", models["good"], task, metric="bleu", questions=10)
    found = scores.compare(tmp_path / "all" / "out", tmp_path / "some" / "out")
    assert found == "bleu is of all examples together, and 14 are not shared"


def test_a_task_with_a_beginning_of_the_answer_leaves_the_turn_open(tmp_path: Path, models: dict[str, Path]) -> None:
    task = write_task(tmp_path / "task", "choice", ["acc"], gen_prefix="Well,")
    _, rows = evaluate(tmp_path / "run", models["good"], task, metric="acc", apply_chat_template=True)
    assert all(row["question"].endswith("<|assistant|>Well,") for row in rows)
