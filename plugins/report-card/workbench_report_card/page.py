"""The self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workbench.models.statistics import Interval
from workbench_report_card import charts
from workbench_report_card.charts import Whisker
from workbench_report_card.results import Curve, Difference, Evaluated, Findings, Funnel, Measured


@dataclass(frozen=True)
class Written:
    """What the last model answers to a prompt."""

    prompt: str
    greedy: str
    sampled: str


@dataclass(frozen=True)
class Heading:
    """What stands above the findings."""

    title: str
    language: str
    summary: str
    temperature: float
    """Of the sampled answers."""


def render(heading: Heading, findings: Findings, written: Sequence[Written]) -> str:
    """The page; every text that is not ours is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("workbench_report_card", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html.j2").render(
        title=heading.title,
        language=heading.language,
        summary=heading.summary,
        temperature=heading.temperature,
        models=findings.models,
        evaluations=[_evaluation(found) | {"chart": Markup(_interval_chart(found))} for found in findings.evaluations],  # noqa: S704
        curves=[{"model": curve.model, "chart": Markup(_loss_chart(curve))} for curve in findings.curves if curve.x],  # noqa: S704
        funnels=[{"name": funnel.name, "chart": Markup(_funnel_chart(funnel))} for funnel in findings.funnels],  # noqa: S704
        generations=written,
    )


def interval_text(interval: Interval | None) -> str:
    """``low … high``, or a dash where there is none."""
    return f"{interval.low:.4f} … {interval.high:.4f}" if interval else "–"


def _evaluation(found: Evaluated) -> dict[str, Any]:
    names = list(dict.fromkeys(name for measured in found.measured for name in measured.metrics))
    return {
        "name": found.name,
        "score": found.score,
        "higher_is_better": found.higher_is_better,
        "models": [measured.model for measured in found.measured],
        "rows": [_row(measured) for measured in found.measured],
        "differences": [_difference_row(difference) for difference in found.differences],
        "metrics": [[name, *(_metric_text(measured, name) for measured in found.measured)] for name in names],
    }


def _metric_text(measured: Measured, name: str) -> str:
    return charts.number_text(measured.metrics[name]) if name in measured.metrics else ""


def _row(measured: Measured) -> dict[str, str]:
    interval = measured.interval
    return {
        "model": measured.model,
        "estimate": f"{measured.estimate:.4f}",
        "interval": interval_text(interval),
        "examples": charts.number_text(measured.examples),
        "groups": charts.number_text(measured.groups),
    }


def _difference_row(difference: Difference) -> dict[str, Any]:
    result = difference.result
    return {
        "name": f"{difference.after} − {difference.before}",
        "estimate": f"{result.estimate:+.4f}",
        "interval": interval_text(result),
        "standard_error": f"{result.standard_error:.4f}",
        "detectable": f"{result.minimum_detectable_effect:.4f}",
        "better": difference.better,
    }


def _interval_chart(found: Evaluated) -> str:
    whiskers = [
        Whisker(m.model, m.estimate, m.interval.low if m.interval else m.estimate, m.interval.high if m.interval else m.estimate)
        for m in found.measured
    ]
    return charts.interval_chart(f"{found.name} by model", found.score.replace("_", " "), whiskers, found.references)


def _loss_chart(curve: Curve) -> str:
    return charts.line_chart(
        f"Training loss of {curve.model}", curve.x_label, f"loss ({curve.unit})" if curve.unit else "loss", curve.x, curve.loss
    )


def _funnel_chart(funnel: Funnel) -> str:
    return charts.bar_chart(f"Records of {funnel.name}", "records", [(label, float(number)) for label, number in funnel.steps])
