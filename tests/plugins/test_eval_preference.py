"""Preference accuracy by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import SENTENCES, build_model
from workbench_eval_preference import PreferenceAccuracy, PreferenceConfig, independent_groups

from workbench.artifacts import evaluation, examples
from workbench.artifacts.examples import Message, Preference
from workbench.errors import ArtifactError, ParamsError
from workbench.models import scoring
from workbench.models.scoring import CausalModel, Request
from workbench.testing import make_run

Scoring = Literal["likelihood", "normalized", "mutual-information"]


@pytest.fixture(scope="module")
def model_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose window holds the preferences below."""
    return build_model(tmp_path_factory.mktemp("tiny-llama"), window=64)


def user(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


def assistant(text: str) -> tuple[Message, ...]:
    return (Message(role="assistant", content=text),)


PREFERENCES = [
    Preference(user(f"Tell {index // 2}."), assistant(SENTENCES[index]), assistant(SENTENCES[(index + 1) % 6]), "heldout")
    for index in range(6)
]


def run_stage(tmp_path: Path, model: Path, config: PreferenceConfig, preferences: list[Preference]) -> list[dict[str, Any]]:
    training = Preference(user("x"), assistant("y"), assistant("z"))
    examples.write(tmp_path / "preferences", [training, *preferences], Preference.schema)
    tmp_path.mkdir(exist_ok=True)
    run = make_run(tmp_path)
    inputs = {"model": model, "preferences": tmp_path / "preferences"}
    PreferenceAccuracy(config).execute(inputs, {"out": tmp_path / "out"}, run)
    evaluation.validate(tmp_path / "out")
    rows = evaluation.read_examples(tmp_path / "out")
    assert run.summary["accuracy"] == pytest.approx(sum(row["score"] for row in rows) / len(rows))
    return rows


def likelihood(model: CausalModel, question: str, answer: str) -> float:
    prompt, whole = model.encode(
        [f"<|user|>{question}<|end|><|assistant|>", f"<|user|>{question}<|end|><|assistant|>{answer}<|end|>"]
    )
    return scoring.score(model, [Request(prompt, whole[len(prompt) :])], batch_tokens=64)[0].log_likelihood


@pytest.mark.parametrize("kind", ["likelihood", "normalized", "mutual-information"])
def test_margins_by_hand(tmp_path: Path, model_directory: Path, kind: Scoring) -> None:
    rows = run_stage(tmp_path, model_directory, PreferenceConfig(scoring=kind, neutral_question="Well?"), PREFERENCES)
    model = scoring.load(model_directory, "cpu")

    def value(question: str, answer: str) -> float:
        plain = likelihood(model, question, answer)
        if kind == "normalized":
            return plain / len(answer.encode())
        return plain - likelihood(model, "Well?", answer) if kind == "mutual-information" else plain

    for row in rows:
        margin = value(row["prompt"], row["chosen"]) - value(row["prompt"], row["rejected"])
        assert row["margin"] == pytest.approx(margin, abs=1e-3)
        assert row["score"] == float(margin > 0)
    assert {row["cut"] for row in rows} == {0}


def test_a_limit_takes_a_fixed_choice(tmp_path: Path, model_directory: Path) -> None:
    rows = run_stage(tmp_path, model_directory, PreferenceConfig(rows=2), PREFERENCES)
    everything = sorted(row["id"] for row in examples.read(tmp_path / "preferences", "heldout"))
    assert [row["id"] for row in rows] == everything[:2]


def test_a_tie_is_half_a_success(tmp_path: Path, model_directory: Path) -> None:
    tie = [Preference(user("Tell."), assistant("Same."), assistant("Same."), "heldout")]
    assert run_stage(tmp_path, model_directory, PreferenceConfig(), tie)[0]["score"] == 0.5


def test_no_held_out_preference_is_a_clear_error(tmp_path: Path, model_directory: Path) -> None:
    with pytest.raises(ArtifactError, match="heldout has no preference"):
        run_stage(tmp_path, model_directory, PreferenceConfig(), [])


def pair(identity: str, prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    return {"id": identity, "prompt": user(prompt), "chosen": assistant(chosen), "rejected": assistant(rejected)}


def test_rows_that_share_a_prompt_or_an_answer_are_one_group() -> None:
    rows = [
        pair("e", "one", "a", "b"),
        pair("d", "two", "b", "c"),  # an answer of the first, rejected there
        pair("c", "two", "x", "y"),  # the prompt of the second
        pair("b", "a", "p", "q"),  # a prompt that is another row's answer is not shared
        pair("a", "three", "q", "r"),
    ]
    assert independent_groups(rows) == ["c", "c", "c", "a", "a"]


@given(st.lists(st.tuples(*[st.integers(0, 9)] * 3), min_size=1, max_size=25))
@settings(max_examples=60, deadline=None)
def test_groups_share_nothing_and_are_as_small_as_that_allows(numbers: list[tuple[int, int, int]]) -> None:
    rows = [pair(f"{place:02}", *map(str, three)) for place, three in enumerate(numbers)]
    groups = independent_groups(rows)
    shared = [
        {("prompt", str(prompt)), ("answer", str(chosen)), ("answer", str(rejected))} for prompt, chosen, rejected in numbers
    ]
    joined = {frozenset([place]) for place in range(len(rows))}
    for place, texts in enumerate(shared):
        touching = [cluster for cluster in joined if place in cluster or any(shared[other] & texts for other in cluster)]
        joined = (joined - set(touching)) | {frozenset().union(*touching)}
    assert {frozenset(p for p, name in enumerate(groups) if name == group) for group in set(groups)} == joined


def test_prompts_beyond_the_window_are_counted_and_above_a_share_refused(tmp_path: Path, model_directory: Path) -> None:
    long = [Preference(user(" ".join(SENTENCES)), assistant("Yes."), assistant("No."), "heldout"), *PREFERENCES]
    with pytest.raises(ParamsError, match="1 of 7 questions are longer than the model's window of 64 tokens"):
        run_stage(tmp_path / "refused", model_directory, PreferenceConfig(), long)
    rows = run_stage(tmp_path / "allowed", model_directory, PreferenceConfig(max_cut_share=0.2), long)
    assert sorted(row["cut"] > 0 for row in rows) == [False] * 6 + [True]
    assert evaluation.read_record(tmp_path / "allowed" / "out")["metrics"]["prompts_cut"] == 1
