"""A model card and one self-contained page about a whole pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from workbench import hookimpl
from workbench.errors import ArtifactError
from workbench.kinds.report import ReportStage, Results
from workbench.models import generation, scoring
from workbench.models.generation import Sampling
from workbench.plugin import Config, Plugin
from workbench.run import Cell, Chart, Generation, Run
from workbench_report_card import card, page
from workbench_report_card.page import Heading, Written
from workbench_report_card.results import Evaluated, Findings, gather


class CardConfig(Config):
    """What the documents say that the results don't."""

    title: str = Field("A language model", min_length=1)
    """Heading of the page and name of the model."""
    license: str = "apache-2.0"
    """The hub's identifier of the model's licence."""
    language: str = "en"
    """ISO 639 code of the training text."""
    models: tuple[str, ...] = ("base", "sft", "aligned")
    """Order in which the models were trained; those that don't exist are left out. Others than these come last, by name, and are
    warned of."""
    prompts: tuple[str, ...] = ()
    """Questions that the last model answers, in its chat template; none loads no model."""
    max_tokens: int = Field(64, ge=1)
    """Tokens of an answer at most."""
    temperature: float = Field(0.7, gt=0)
    """Temperature of the sampled answers; each question is also answered greedily."""


class Card(ReportStage[CardConfig]):
    """Model card (Mitchell et al. 2019, https://arxiv.org/abs/1810.03993) and a page of everything measured."""

    name = "card"
    Config = CardConfig

    def write(self, results: Results, out: Path, run: Run) -> None:
        """Write ``README.md`` and ``index.html``, and tell the run the paired differences."""
        findings = gather(results, self.config.models)
        if not findings.models:
            raise ArtifactError("there is no model to report on", str(results.models), "run the stages that train one")
        if findings.unplaced:
            run.warn(f"{', '.join(findings.unplaced)}: not among `models` of the report, so they come last, by name")
        last = results.models / findings.models[-1]
        summary = card.summary_of(card.read_architecture(last), findings.models)
        written = self._answers(last, run)
        heading = Heading(self.config.title, self.config.language, summary, self.config.temperature)
        markdown = card.render(self.config.title, summary, findings)
        matter = card.front_matter(self.config.title, self.config.license, self.config.language, findings)
        (out / "index.html").write_text(page.render(heading, findings, written), encoding="utf-8")
        (out / "README.md").write_text(matter + "\n" + markdown, encoding="utf-8")
        _report(findings, markdown, run)

    def _answers(self, model: Path, run: Run) -> list[Written]:
        prompts = self.config.prompts
        if not prompts:
            return []
        causal = scoring.load(model, run.compute.device)
        asked = causal.encode(
            [causal.render([{"role": "user", "content": text}], add_generation_prompt=True) for text in prompts]
        )
        greedy, sampled = (
            [causal.tokenizer.decode(tokens) for tokens in generation.generate(causal, asked, sampling)]
            for sampling in (
                Sampling(self.config.max_tokens, 0.0),
                Sampling(self.config.max_tokens, self.config.temperature, run.seed),
            )
        )
        written = [Written(*texts) for texts in zip(prompts, greedy, sampled, strict=True)]
        for answer in written:
            run.generation(Generation(answer.prompt, answer.greedy, len(causal.encode([answer.greedy])[0]), 0.0))
        return written


def _report(findings: Findings, markdown: str, run: Run) -> None:
    run.text("model-card", markdown)
    for found in findings.evaluations:
        for difference in found.differences:
            name = f"{found.name}.{difference.name}"
            run.metric(f"{name}.difference", difference.result.estimate)
            run.metric(f"{name}.low", difference.result.low)
            run.metric(f"{name}.high", difference.result.high)
        _chart(found, run)
    if findings.evaluations:
        run.table("comparison", "Every evaluation of every model", _rows(findings.evaluations))


def _chart(found: Evaluated, run: Run) -> None:
    models = [measured.model for measured in found.measured]
    scores = [measured.estimate for measured in found.measured]
    run.chart(Chart(f"{found.name}-by-model", f"{found.name} by model", "model", found.score, models, {found.score: scores}))


def _rows(evaluations: Sequence[Evaluated]) -> list[dict[str, Cell]]:
    rows: list[dict[str, Cell]] = []
    for found in evaluations:
        for m in found.measured:
            low, high = (m.interval.low, m.interval.high) if m.interval else (None, None)
            rows.append(
                {"evaluation": found.name, "what": m.model, "score": found.score, "value": m.estimate, "low": low, "high": high}
            )
        for d in found.differences:
            value = {"value": d.result.estimate, "low": d.result.low, "high": d.result.high}
            rows.append({"evaluation": found.name, "what": f"{d.after} - {d.before}", "score": found.score, **value})
    return rows


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """The classes that this distribution offers."""
    return [Card]
