"""What a metric of the harness says of one example, and which way is better.

The harness computes a metric of a task from one value per document. A pipeline compares models example by example, so each value
becomes a score whose mean, weighted or not, is the metric or grows and falls with it:

- a mean (``acc``, ``exact_match`` …, and ``brier_score``, which is one): the value itself;
- ``perplexity`` and its like, exp(−Σ log p / Σ weight): −log p / weight, in nats, less is better; ``bits_per_byte`` in bits;
- a metric of the whole corpus (``f1``, ``mcc``, ``bleu``, ``chrf``, ``ter``): the document's jackknife value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from workbench.errors import ParamsError
from workbench.models.statistics import jackknife

METRIC = "params.yaml, with.metric of this evaluation"
Form = Literal["mean", "likelihood", "corpus"]
MORE, LESS = True, False
"""Of a score, which is better."""


@dataclass(frozen=True)
class Rule:
    """How the values of a metric become scores."""

    score: str
    """What a score is, such as ``acc`` or ``nats_per_word``."""
    higher_is_better: bool
    form: Form
    aggregate: Callable[[Sequence[Any]], float]
    """The harness's metric from the values of all documents."""
    unit: float = 1.0
    """Nats in one unit of the score, for likelihoods."""


@dataclass(frozen=True)
class Scores:
    """Scores of the samples that have one, in their order."""

    values: Sequence[float]
    weights: Sequence[float] | None
    """None for equal weights."""
    groups: Sequence[str]
    """Clusters of dependent examples; coarser than those given where a corpus metric has very many."""


def rule_of(name: str, task: Any, metric: str) -> Rule:
    """How this task's metric is scored.

    Raises:
        ParamsError: the task lacks the metric, or how it is aggregated has no known scores or contradicts its direction.
    """
    from lm_eval.api.registry import AGGREGATION_REGISTRY, METRIC_REGISTRY, get_metric_aggregation, is_higher_better

    offered = sorted(task.aggregation())
    if metric not in offered:
        raise ParamsError(f"task {name!r} has no metric {metric!r}", METRIC, f"choose one of {', '.join(offered)}")
    aggregate = task.aggregation()[metric]
    declared = bool(task.higher_is_better()[metric])
    how = next((key for key, known in AGGREGATION_REGISTRY.items() if known is aggregate), "a function of its own")
    own_values = task.get_config("process_results") is not None
    if metric in METRIC_REGISTRY and not own_values and aggregate is not get_metric_aggregation(metric):
        raise _refusal(
            name, metric, f"aggregates it by {how}, which is not what the harness's {metric} is aggregated by", offered
        )
    rule = _rule(metric, how, declared, aggregate)
    if rule is None:
        raise _refusal(name, metric, f"aggregates it by {how}, for which there is no score of one example", offered)
    known = rule.higher_is_better if rule.form != "mean" or metric not in METRIC_REGISTRY else bool(is_higher_better(metric))
    if declared != known:
        raise _refusal(name, metric, f"calls {'more' if declared else 'less'} of it better, and it is the other way", offered)
    return rule


def _rule(metric: str, how: str, declared: bool, aggregate: Callable[[Sequence[Any]], float]) -> Rule | None:
    match how:
        case "mean" | "nanmean":
            return Rule(metric, declared, "mean", aggregate)
        case "brier_score":
            return Rule(metric, LESS, "mean", aggregate)
        case "perplexity":
            return Rule("negative_log_likelihood", LESS, "likelihood", aggregate)
        case "weighted_perplexity":
            unit = {"word_perplexity": "word", "byte_perplexity": "byte"}.get(metric, "unit")
            return Rule(f"nats_per_{unit}", LESS, "likelihood", aggregate)
        case "bits_per_byte":
            return Rule("bits_per_byte", LESS, "likelihood", aggregate, unit=math.log(2))
        case "f1" | "matthews_corrcoef" | "bleu" | "chrf" | "chrf++":
            return Rule(metric, MORE, "corpus", aggregate)
        case "ter":
            return Rule(metric, LESS, "corpus", aggregate)
    return None


def _refusal(name: str, metric: str, why: str, offered: Sequence[str]) -> ParamsError:
    others = ", ".join(other for other in offered if other != metric)
    return ParamsError(
        f"metric {metric!r}: task {name!r} {why}", METRIC, f"choose one of {others}" if others else "leave the task out"
    )


def one_rule(rules: Mapping[str, Rule]) -> Rule:
    """The rule of all tasks.

    Raises:
        ParamsError: their scores are of different things, or better in different directions.
    """
    first, *others = rules
    for other in others:
        mine, theirs = ((rules[name].score, rules[name].higher_is_better, rules[name].form) for name in (first, other))
        if mine != theirs:
            raise ParamsError(f"tasks {first!r} and {other!r} measure it differently", METRIC, "make an evaluation of each")
    return rules[first]


def has_score(value: object, rule: Rule) -> bool:
    """Whether the harness's value counts: a document may have none (NaN, or absent), or nothing to be read (no byte)."""
    if value is None:
        return False
    if rule.form == "likelihood":
        return _weighed(value)[1] > 0
    return not (isinstance(value, float) and math.isnan(value))


def score(values: Sequence[Any], groups: Sequence[str], rule: Rule) -> Scores:
    """A score for each of a task's values; their mean, weighted, is the metric, or its logarithm for perplexities."""
    if rule.form == "corpus":
        found = jackknife(lambda kept: float(rule.aggregate([values[place] for place in kept])), groups)
        return Scores(found.values, None, found.blocks)
    if rule.form == "mean":
        return Scores([float(rule.aggregate([value])) for value in values], None, groups)
    weighed = [_weighed(value) for value in values]
    scores = [-likelihood / (weight * rule.unit) for likelihood, weight in weighed]
    return Scores(scores, [weight for _, weight in weighed] if isinstance(values[0], tuple | list) else None, groups)


def _weighed(value: Any) -> tuple[float, float]:
    """The log-likelihood in nats with the words or bytes it is of; 1 where it stands alone."""
    likelihood, weight = value if isinstance(value, tuple | list) else (value, 1)
    return float(likelihood), float(weight)
