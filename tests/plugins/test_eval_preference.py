"""Preference accuracy by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from tiny_model import SENTENCES, model_directory  # noqa: F401
from workbench_eval_preference import PreferenceAccuracy, PreferenceConfig

from workbench.artifacts import evaluation, examples
from workbench.artifacts.examples import Message, Preference
from workbench.errors import ArtifactError
from workbench.models import scoring
from workbench.models.scoring import CausalModel, Request
from workbench.testing import make_run

Scoring = Literal["likelihood", "normalized", "mutual-information"]


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
def test_margins_by_hand(tmp_path: Path, model_directory: Path, kind: Scoring) -> None:  # noqa: F811
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
    assert len({row["group"] for row in rows}) == 3


def test_a_limit_takes_a_fixed_choice(tmp_path: Path, model_directory: Path) -> None:  # noqa: F811
    rows = run_stage(tmp_path, model_directory, PreferenceConfig(rows=2), PREFERENCES)
    everything = sorted(row["id"] for row in examples.read(tmp_path / "preferences", "heldout"))
    assert [row["id"] for row in rows] == everything[:2]


def test_a_tie_is_half_a_success(tmp_path: Path, model_directory: Path) -> None:  # noqa: F811
    tie = [Preference(user("Tell."), assistant("Same."), assistant("Same."), "heldout")]
    assert run_stage(tmp_path, model_directory, PreferenceConfig(), tie)[0]["score"] == 0.5


def test_no_held_out_preference_is_a_clear_error(tmp_path: Path, model_directory: Path) -> None:  # noqa: F811
    with pytest.raises(ArtifactError, match="heldout has no preference"):
        run_stage(tmp_path, model_directory, PreferenceConfig(), [])
