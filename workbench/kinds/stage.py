"""Base of the kinds that are stages of the pipeline."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from workbench.estimate import Estimate, size_of
from workbench.plugin import C, Plugin
from workbench.run import Run

OWN = "*"
"""Stands in ``outputs`` for the format that the plugin names in ``produces``."""


class Stage(Plugin[C], ABC):
    """A plugin that turns input artifacts into output artifacts. Subclassed by kinds, not by plugins."""

    section: ClassVar[str]
    """The section of params.yaml whose entries are stages of the kind."""
    nested: ClassVar[bool] = False
    """Whether the section always holds one entry per key (``curate``, ``eval``); any other is an entry, or holds several."""
    makes: ClassVar[str] = ""
    """What its output is called in a pipeline that `workbench new-recipe` writes: a folder below ``data``, or a model; by default
    the section."""
    inputs: ClassVar[Mapping[str, str]]
    """Flow name (the option on the command line) → artifact format that it reads."""
    outputs: ClassVar[Mapping[str, str]]
    """Flow name → artifact format that it writes."""
    parts: ClassVar[Mapping[str, str]] = {}
    """Key beside ``use:`` that lists further plugins → their kind."""
    optional: ClassVar[frozenset[str]] = frozenset()
    """Input flows that a command line may leave out."""
    machine_dependent: ClassVar[bool] = False
    """Whether the output's bytes may differ between machines, as trained weights do."""

    def __init__(self, config: C, parts: Mapping[str, Sequence[Plugin[Any]]] | None = None) -> None:
        super().__init__(config)
        self.members = parts or {}

    def produced(self, flow: str) -> str:
        """The format of an output; where the kind leaves it open, what the plugin says it ``produces``."""
        declared = self.outputs[flow]
        return str(getattr(self, "produces", declared)) if declared == OWN else declared

    def needed(self) -> frozenset[str]:
        """Input flows that this configuration cannot do without; a plugin adds the optional ones that its ``with`` asks for."""
        return frozenset(self.inputs) - self.optional

    def estimate(self, inputs: Mapping[str, Path]) -> Estimate:
        """Estimate the cost of a run on these inputs, quickly and without heavy imports; some inputs may not exist yet."""
        return Estimate(size_of(inputs), "bytes")

    @abstractmethod
    def execute(self, inputs: Mapping[str, Path], outputs: Mapping[str, Path], run: Run) -> None:
        """Read the inputs and write every output below its (scratch) path. Implemented by the kind."""
