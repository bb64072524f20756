"""The harness through our model class: equal to its own, on a benchmark written for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_model import SENTENCES, build_model, model_directory  # noqa: F401
from workbench_eval_lm_eval import LmEval, LmEvalConfig, benchmark_spec

from workbench.artifacts import benchmark, evaluation
from workbench.artifacts.benchmark import Question
from workbench.errors import ArtifactError, ParamsError
from workbench.models import scoring
from workbench.models.scoring import CausalModel
from workbench.testing import make_run

QUESTIONS = [
    Question(f"What about part {i}?", tuple(SENTENCES[(i + step) % 6] for step in range(4)), i % 4, f"d{i}", f"g{i // 3}")
    for i in range(12)
]


@pytest.fixture(scope="module")
def model(model_directory: Path) -> CausalModel:  # noqa: F811
    return scoring.load(model_directory, "cpu")


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose window holds every question of these tests."""
    return build_model(tmp_path_factory.mktemp("wide"), window=256)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("benchmark")
    benchmark.write(path, QUESTIONS, "tiny_choice")
    return path


@pytest.fixture(scope="module")
def hflm(model: CausalModel) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=model.model, tokenizer=model.tokenizer, batch_size=3, device="cpu")


def instances(kind: str, arguments: list[tuple[Any, ...]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, arguments_, index) for index, arguments_ in enumerate(arguments)]


def ours(model: CausalModel, neutral: str = "", *, rendered: bool = False) -> Any:
    from workbench_eval_lm_eval.model import ScoringLM

    lm = ScoringLM(model, batch_tokens=256, neutral=neutral)
    lm.rendered = rendered
    return lm


def has_own_token(model: CausalModel, text: str, cut: int) -> bool:
    """Whether the text after the cut has a token that does not begin before it; the rest are merged."""
    whole, before = model.encode([text, text[:cut].rstrip() or text[:cut]])
    return len(whole) > len(before)


def test_log_likelihoods_equal_those_of_the_harness(model: CausalModel, hflm: Any) -> None:
    pairs = [(q.question, " " + choice) for q in QUESTIONS[:4] for choice in q.choices]
    pairs += [("", " " + choice) for choice in SENTENCES]
    pairs += [("ends in spaces  ", "so"), ("<|user|>Who?<|end|><|assistant|>", "Nobody"), (" ".join(SENTENCES), " The mill.")]
    requests = instances("loglikelihood", pairs)
    expected = hflm.loglikelihood(requests, disable_tqdm=True)
    for mine, theirs in zip(ours(model, rendered=True).loglikelihood(requests), expected, strict=True):
        assert mine[0] == pytest.approx(theirs[0], abs=1e-3)
        assert mine[1] == theirs[1]


def test_a_token_merged_across_question_and_answer_is_scored_as_in_the_harness(model: CausalModel, hflm: Any) -> None:
    """One by one: asked together, the harness takes two ways to cut one text for the same request."""
    pairs = [(text[:cut], text[cut:]) for text in SENTENCES[:3] for cut in range(1, 20) if has_own_token(model, text, cut)]
    requests = instances("loglikelihood", pairs)
    expected = [hflm.loglikelihood([request], disable_tqdm=True)[0] for request in requests]
    lm = ours(model)
    found = lm.loglikelihood(requests)
    assert [score for score, _ in found] == pytest.approx([score for score, _ in expected], abs=1e-3)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
    assert lm.merged > 5


def test_rolling_log_likelihoods_equal_those_of_the_harness(model: CausalModel, hflm: Any) -> None:
    requests = instances("loglikelihood_rolling", [(SENTENCES[0],), (" ".join(SENTENCES * 2),), ("The mill",)])
    expected = hflm.loglikelihood_rolling(requests, disable_tqdm=True)
    assert ours(model).loglikelihood_rolling(requests) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"max_gen_toks": 8, "do_sample": False},
        {"max_gen_toks": 8},
        {"max_gen_toks": 8, "temperature": 0},
        {"max_gen_toks": 8, "do_sample": False, "temperature": 0.0},
        {"max_gen_toks": 8, "do_sample": False, "temperature": 0.7},
        {"max_new_tokens": 5, "num_beams": 1},
        {"max_gen_toks": 8, "until": "w"},
        {"max_gen_toks": 8, "do_sample": True, "temperature": 1.0, "top_k": 1},
    ],
)
def test_generations_equal_those_of_the_harness(model: CausalModel, hflm: Any, options: dict[str, Any]) -> None:
    options = {"until": ["\n\n"]} | options
    requests = instances(
        "generate_until", [(text, options) for text in ("The wheel", "The river bends", "In spring", "<|user|>Who")]
    )
    expected = [
        hflm.generate_until([request], disable_tqdm=True)[0] for request in requests
    ]  # one by one: padding moves last bits
    assert ours(model, rendered=True).generate_until(requests) == expected


def test_temperature_and_seed_decide_what_is_drawn(model: CausalModel) -> None:
    def drawn(options: dict[str, Any], seed: int = 0) -> list[str]:
        from workbench_eval_lm_eval.model import ScoringLM

        requests = instances("generate_until", [(text, {"max_gen_toks": 8} | options) for text in SENTENCES])
        found: list[str] = ScoringLM(model, batch_tokens=256, seed=seed).generate_until(requests)
        return found

    greedy, sampled = drawn({}), drawn({"temperature": 1.0})
    assert drawn({"temperature": 1.0}) == sampled != greedy
    assert drawn({"temperature": 1.0}, seed=1) != sampled
    assert drawn({"temperature": 1e-4}) == greedy
    assert drawn({"do_sample": True, "temperature": 0}) == greedy


def test_the_tokens_to_be_written_give_way_to_the_prompt(model: CausalModel) -> None:
    """More are wanted than the window holds: the prompt stays whole, and what is cut short is said."""
    texts = ["The wheel", SENTENCES[0]]
    lm = ours(model)
    options = {"max_gen_toks": 500}
    found = lm.generate_until(instances("generate_until", [(text, options) for text in texts]))
    for text, answer in zip(texts, found, strict=True):
        room = model.window - len(model.encode([text])[0])
        (alone,) = ours(model).generate_until(instances("generate_until", [(text, {"max_gen_toks": room})]))
        assert answer == alone
        assert lm.losses([(text, options)]) == {"cut": 0, "capped": 1}
    stopped = {"max_gen_toks": 500, "until": [found[0][2:4]]}
    lm.generate_until(instances("generate_until", [(texts[0], stopped)]))
    assert ours(model).losses([(texts[0], stopped)])["capped"] == 0


def test_questions_beyond_the_window_are_counted_and_above_a_share_refused(
    tmp_path: Path,
    model_directory: Path,  # noqa: F811
) -> None:
    folder = tmp_path / "short"
    benchmark.write(folder, [Question(f"Who {i}?", ("He", "A", "In", "The"), i % 4, f"d{i}", f"g{i}") for i in range(9)], "short")
    fits = LmEvalConfig(questions=4, metric="acc")
    metrics, rows = run_stage(tmp_path, model_directory, folder, fits)
    assert metrics["questions_cut"] == 0
    assert {row["cut"] for row in rows} == {0}
    longer = fits.model_copy(update={"num_fewshot": 6})
    with pytest.raises(ParamsError, match="4 of 4 questions are longer than the model's window of 32 tokens") as caught:
        run_stage(tmp_path / "refused", model_directory, folder, longer)
    assert "max_cut_share" in caught.value.where
    allowed = longer.model_copy(update={"max_cut_share": 1.0})
    metrics, rows = run_stage(tmp_path / "allowed", model_directory, folder, allowed)
    assert metrics["questions_cut"] == 4
    tokens = scoring.load(model_directory, "cpu").encode([row["question"] for row in rows])
    for row, question in zip(rows, tokens, strict=True):
        assert 0 < row["cut"] < len(question)


def test_answers_without_a_token_are_refused_as_by_the_harness(model: CausalModel, hflm: Any) -> None:
    for pair in [("The mill", ""), ("", "")]:
        requests = instances("loglikelihood", [pair])
        with pytest.raises((AssertionError, IndexError)):
            hflm.loglikelihood(requests, disable_tqdm=True)
        with pytest.raises(ArtifactError, match="has no token of its own"):
            ours(model).loglikelihood(requests)


def test_a_stop_string_ends_a_generation(model: CausalModel) -> None:
    (whole,) = ours(model).generate_until(instances("generate_until", [("The wheel", {"max_gen_toks": 8})]))
    stop = whole[3:5]
    (cut,) = ours(model).generate_until(instances("generate_until", [("The wheel", {"until": [stop], "max_gen_toks": 8})]))
    assert cut == whole.split(stop, 1)[0]


def test_a_neutral_question_takes_the_place_of_nothing(model: CausalModel) -> None:
    empty, asked = ours(model, "Who knows?").loglikelihood(
        instances("loglikelihood", [("", " Nobody"), ("Who knows?", " Nobody")])
    )
    (nothing,) = ours(model).loglikelihood(instances("loglikelihood", [("", " Nobody")]))
    assert empty == asked
    assert empty != nothing


@pytest.mark.parametrize("rendered", [False, True])
def test_a_special_tokens_letters_are_text(model: CausalModel, *, rendered: bool) -> None:
    """In the context of a task without chat template, and in every continuation; a rendered context keeps its own tokens."""
    asked = [{"role": "user", "content": "What is <|end|>?"}]
    context = model.render(asked, add_generation_prompt=True) if rendered else "What is <|end|>? "
    ((value, _),) = ours(model, rendered=rendered).loglikelihood(instances("loglikelihood", [(context, "It is<|end|>")]))
    text = model.encode_texts(["What is <|end|>?", "It is<|end|>", " It is<|end|>"])
    before = (3, *text[0], 0, 4) if rendered else text[0]
    (expected,) = scoring.score(model, [scoring.Request(before, text[1] if rendered else text[2])], batch_tokens=256)
    assert value == pytest.approx(expected.log_likelihood, abs=1e-4)


def run_stage(tmp_path: Path, model: Path, folder: Path, config: LmEvalConfig) -> tuple[dict[str, float], list[dict[str, Any]]]:
    tmp_path.mkdir(exist_ok=True)
    run = make_run(tmp_path, seed=3)
    inputs = {"model": model, "benchmark": folder}
    LmEval(config).execute(inputs, {"out": tmp_path / "out"}, run)
    evaluation.validate(tmp_path / "out")
    return evaluation.read_record(tmp_path / "out")["metrics"], evaluation.read_examples(tmp_path / "out")


@pytest.mark.parametrize("chat", [False, True])
def test_mutual_information_by_hand(tmp_path: Path, wide: Path, folder: Path, chat: bool) -> None:
    config = LmEvalConfig(apply_chat_template=chat, neutral_question="Who?" if chat else "")
    metrics, rows = run_stage(tmp_path, wide, folder, config)
    by_question = {q.document: q for q in QUESTIONS}
    documents = {row["id"]: row["document"] for row in benchmark.read(folder)}
    lm = ours(scoring.load(wide, "cpu"), "<|user|>Who?<|end|><|assistant|>" if chat else "", rendered=chat)
    for row in rows:
        question = by_question[documents[row["id"]]]
        context = f"<|user|>{question.question}<|end|><|assistant|>" if chat else question.question
        texts = [choice if chat else f" {choice}" for choice in question.choices]
        values = lm.loglikelihood(instances("loglikelihood", [(place, text) for place in (context, "") for text in texts]))
        gains = [values[i][0] - values[i + 4][0] for i in range(4)]
        assert row["question"] == context
        assert row["chosen"] == max(range(4), key=gains.__getitem__)
        assert row["score"] == float(row["chosen"] == question.answer == row["answer"])
        assert row["answer_only"] == float(max(range(4), key=lambda i: values[i + 4][0]) == question.answer)
        assert row["group"] == question.group
    assert metrics["acc_mutual_info"] == pytest.approx(sum(row["score"] for row in rows) / 12)
    assert metrics["acc"] == pytest.approx(sum(row["plain"] for row in rows) / 12)
    assert (metrics["chance"], metrics["most_frequent_position"], metrics["questions"]) == (0.25, 0.25, 12)


def test_a_fixed_choice_of_questions_and_few_shots(tmp_path: Path, wide: Path, folder: Path) -> None:
    config, whole = LmEvalConfig(questions=5, num_fewshot=1, metric="acc"), LmEvalConfig(num_fewshot=3, metric="acc")
    metrics, rows = run_stage(tmp_path, wide, folder, config)
    assert metrics["questions"] == len({row["id"] for row in rows}) == 5
    assert all(row["question"].count("What about part") == 2 for row in rows)
    _, rows_of_all = run_stage(tmp_path, wide, folder, whole)
    asked = [re.findall(r"What about part (\d+)\?", row["question"]) for row in rows_of_all]
    assert len(asked) == 12
    assert all(len(set(numbers)) == 4 for numbers in asked), "a question with its answer stands before itself"
    assert run_stage(tmp_path, wide, folder, config) == (metrics, rows)


def test_an_absent_benchmark_is_a_clear_error(tmp_path: Path, model_directory: Path) -> None:  # noqa: F811
    with pytest.raises(ArtifactError, match="no benchmark"):
        run_stage(tmp_path, model_directory, tmp_path / "absent", LmEvalConfig())


def test_a_task_that_reads_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text(yaml.safe_dump({"task": "x", "dataset_path": "somebody/data"}))
    with pytest.raises(ArtifactError, match="Parquet"):
        benchmark_spec(tmp_path, tmp_path)


def test_a_metric_that_the_task_lacks_is_refused(tmp_path: Path, model_directory: Path, folder: Path) -> None:  # noqa: F811
    with pytest.raises(ParamsError, match="exact_match") as caught:
        run_stage(tmp_path, model_directory, folder, LmEvalConfig(metric="exact_match"))
    assert "acc_mutual_info" in caught.value.fix


@pytest.mark.parametrize(("task", "message"), [("humaneval", "executes"), ("no_such_task", "no task")])
def test_unsafe_and_unknown_tasks_are_refused(tmp_path: Path, model_directory: Path, task: str, message: str) -> None:  # noqa: F811
    with pytest.raises(ParamsError, match=message):
        run_stage(tmp_path, model_directory, tmp_path, LmEvalConfig(tasks=(task,)))


def test_a_configuration_says_whether_it_needs_the_benchmark() -> None:
    assert LmEval(LmEvalConfig()).needed() == {"model", "benchmark"}
    assert LmEval(LmEvalConfig(tasks=("wikitext",))).needed() == {"model"}
