"""Conformance of sources: they have no inputs, so what they read is named by their configuration."""

from __future__ import annotations

from workbench.testing.stage import StageConformance


class SourceConformance(StageConformance):
    """A source: override ``make_config`` to write the files it reads, ``make_bad_config`` or ``bad_config`` to spoil them."""
