"""Does a model rank the chosen answer above the rejected one?"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from workbench import hookimpl
from workbench.artifacts import examples
from workbench.artifacts.evaluation import Evaluation
from workbench.artifacts.table import Columns
from workbench.errors import ArtifactError
from workbench.estimate import Estimate, size_of
from workbench.kinds.eval import EvalStage
from workbench.models import cost as model_cost
from workbench.models import scoring
from workbench.models.scoring import CausalModel, Request
from workbench.plugin import Config, Plugin
from workbench.run import Chart, Run

Messages = Sequence[Mapping[str, str]]
BINS = 20
ROW_TOKENS = 160
"""Tokens of both answers after their prompt and alone, for plans."""
TOKENS_PER_BYTE = 2
"""The same for a byte of the preferences, whose Parquet is compressed."""


class PreferenceConfig(Config):
    """How two answers are compared."""

    scoring: Literal["likelihood", "normalized", "mutual-information"] = "mutual-information"
    """Log-likelihood, the same per byte, or the same less that after the neutral question."""
    neutral_question: str = Field("What does it do?", min_length=1)
    """The prompt that tells nothing about the answer; read by ``mutual-information`` alone."""
    rows: int = Field(0, ge=0)
    """Preferences compared: the first by id, a fixed random choice; 0 takes all."""
    max_cut_share: float = Field(0.05, ge=0, le=1)
    """Share of preferences whose prompt may lose its beginning because prompt and answer are longer than the model's window."""
    batch_tokens: int = Field(4_096, ge=1)
    """Tokens of a batch, padding included; changes the last bits of the scores."""


class PreferenceAccuracy(EvalStage[PreferenceConfig]):
    """Implicit ranking accuracy on held-out preferences (Chen et al. 2024, https://arxiv.org/abs/2405.19534)."""

    name = "preference"
    Config = PreferenceConfig
    inputs: ClassVar[Mapping[str, str]] = {"model": "model", "preferences": "preferences"}
    columns: ClassVar[Columns] = {
        "prompt": "string",
        "chosen": "string",
        "rejected": "string",
        "margin": "double",
        "cut": "int64",
    }

    def estimate(self, inputs: Mapping[str, Path]) -> Estimate:
        """Both answers of every held-out preference."""
        heldout = {file.name: file for file in inputs["preferences"].glob("heldout-*.parquet")}
        tokens = self.config.rows * ROW_TOKENS or TOKENS_PER_BYTE * size_of(heldout)
        return model_cost.of_reading(inputs["model"], tokens, self.config.batch_tokens)

    def evaluate(self, model: Path, data: Mapping[str, Path], run: Run) -> Evaluation:
        """Score both answers of every preference."""
        rows = self._read(data["preferences"])
        causal = scoring.load(model, run.compute.device)
        answers = [(row["prompt"], row[side]) for side in ("chosen", "rejected") for row in rows]
        requests = _requests(causal, answers)
        cut = [max(map(causal.beyond, pair)) for pair in zip(requests[: len(rows)], requests[len(rows) :], strict=True)]
        scoring.require_fit(cut, causal.window, self.config.max_cut_share, "params.yaml, with.max_cut_share of this evaluation")
        values = self._values(causal, answers, requests, run)
        results = [
            _example(row, group, first - second) | {"cut": lost}
            for row, group, first, second, lost in zip(
                rows, independent_groups(rows), values[: len(rows)], values[len(rows) :], cut, strict=True
            )
        ]
        margins = [result["margin"] for result in results]
        _draw(margins, run)
        metrics = {
            "accuracy": sum(result["score"] for result in results) / len(results),
            "mean_margin": sum(margins) / len(margins),
            "rows": float(len(results)),
            "groups": float(len({result["group"] for result in results})),
            "prompts_cut": float(sum(lost > 0 for lost in cut)),
        }
        return Evaluation(metrics, "accuracy", higher_is_better=True, examples=results)

    def _read(self, folder: Path) -> list[dict[str, Any]]:
        rows = list(examples.read(folder, "heldout"))
        if not rows:
            raise ArtifactError(
                "the split heldout has no preference", str(folder), "hold some objects out in the data set's source"
            )
        return heapq.nsmallest(self.config.rows or len(rows), rows, key=lambda row: str(row["id"]))

    def _values(
        self, model: CausalModel, answers: Sequence[tuple[Messages, Messages]], requests: Sequence[Request], run: Run
    ) -> list[float]:
        """The value of every answer after its prompt."""
        wanted = [*requests]
        if self.config.scoring == "mutual-information":
            neutral: Messages = [{"role": "user", "content": self.config.neutral_question}]
            wanted += _requests(model, [(neutral, answer) for _, answer in answers])
        scores = scoring.score(
            model,
            wanted,
            batch_tokens=self.config.batch_tokens,
            progress=lambda done, total: run.progress(done, total, "tokens", "preferences"),
        )
        values = [score.log_likelihood for score in scores]
        if self.config.scoring == "mutual-information":
            values = [after - alone for after, alone in zip(values[: len(answers)], values[len(answers) :], strict=True)]
        elif self.config.scoring == "normalized":
            values = [value / len(_text(answer).encode("utf-8")) for value, (_, answer) in zip(values, answers, strict=True)]
        return values


def independent_groups(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A group for each row: rows that share a prompt or an answer, directly or through others, are of one.

    Groups are the connected components of the graph of rows and texts, named by the smallest id in them.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    texts: dict[tuple[str, str], int] = {}
    edges = [
        (place, texts.setdefault(text, len(texts)))
        for place, row in enumerate(rows)
        for text in (("prompt", _text(row["prompt"])), ("answer", _text(row["chosen"])), ("answer", _text(row["rejected"])))
    ]
    left, right = [row for row, _ in edges], [len(rows) + text for _, text in edges]
    size = len(rows) + len(texts)
    _, labels = connected_components(coo_array(([True] * len(edges), (left, right)), shape=(size, size)), directed=False)
    names: dict[int, str] = {}
    for row, label in sorted(zip(rows, labels[: len(rows)].tolist(), strict=True), key=lambda pair: str(pair[0]["id"])):
        names.setdefault(label, str(row["id"]))
    return [names[label] for label in labels[: len(rows)].tolist()]


def _requests(model: CausalModel, pairs: Sequence[tuple[Messages, Messages]]) -> list[Request]:
    """The answer's tokens, the end of its turn included, after the prompt's.

    Raises:
        ArtifactError: in the chat template, the prompt is no prefix of the conversation.
    """
    prompts = [model.render(prompt, add_generation_prompt=True) for prompt, _ in pairs]
    wholes = [model.render([*prompt, *answer], add_generation_prompt=False) for prompt, answer in pairs]
    for prompt, whole in zip(prompts, wholes, strict=True):
        if not whole.startswith(prompt):
            raise ArtifactError(
                "the chat template changes the prompt when the answer follows",
                model.tokenizer.name_or_path,
                "use a template whose generation prompt is a prefix of the assistant's turn",
            )
    encoded = zip(model.encode(prompts), model.encode(wholes), strict=True)
    return [Request(whole[: len(prompt)], whole[len(prompt) :]) for prompt, whole in encoded]


def _example(row: Mapping[str, Any], group: str, margin: float) -> dict[str, Any]:
    return {
        "id": row["id"],
        "group": group,
        "score": 0.5 if margin == 0 else float(margin > 0),
        "prompt": _text(row["prompt"]),
        "chosen": _text(row["chosen"]),
        "rejected": _text(row["rejected"]),
        "margin": margin,
    }


def _text(messages: Messages) -> str:
    return "\n".join(message["content"] for message in messages)


def _draw(margins: Sequence[float], run: Run) -> None:
    bound = max(abs(margin) for margin in margins) or 1.0
    counts = [0.0] * BINS
    for margin in margins:
        counts[min(BINS - 1, int((margin + bound) / (2 * bound) * BINS))] += 1
    labels = [f"{bound * (2 * (place + 0.5) / BINS - 1):.2g}" for place in range(BINS)]
    title = "Margin of the chosen over the rejected answer"
    run.chart(Chart("margins", title, "margin, nats", "preferences", labels, {"preferences": counts}))


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """The classes that this distribution offers."""
    return [PreferenceAccuracy]
