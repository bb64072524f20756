"""Conformance of the kinds that come after training: evaluations and reports."""

from __future__ import annotations

from workbench.testing.stage import StageConformance


class EvalConformance(StageConformance):
    """An evaluation: scores the sample model, a llama of some 30,000 random parameters with a window of 128 tokens."""


class ReportConformance(StageConformance):
    """A report on three sample models, an evaluation of each, decisions and metrics."""
