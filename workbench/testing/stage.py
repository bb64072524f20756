"""Conformance of stages: their inputs are the kit's samples, by format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from workbench.kinds.stage import Stage
from workbench.testing.running import RunningConformance
from workbench.testing.spoiled import spoil


class StageConformance(RunningConformance):
    """Base of the classes of the kinds that are stages."""

    data: ClassVar[str | None] = None
    """The format to give for the flow ``data``, where the plugin's own ``inputs`` do not say it."""

    unseen: ClassVar[frozenset[str]] = frozenset()
    """Optional flows that the kind's base class reads, and the plugin never sees."""

    def write_inputs(self, folder: Path) -> Mapping[str, Path]:
        """Copy the kit's sample for each input flow; override it to give the plugin inputs of its own."""
        for flow, format_name in self._formats().items():
            self.samples.copy(flow, format_name, folder / flow)
        return {flow: folder / flow for flow in self._formats()}

    def bad_inputs(self, inputs: Mapping[str, Path], folder: Path) -> Iterator[tuple[str, Mapping[str, Path]]]:
        """Each input in turn without a column, without a row, or without a file."""
        for flow, format_name in self._formats().items():
            if flow in inputs:
                for what, path in spoil(format_name, inputs[flow], folder / flow):
                    yield f"{flow}: {what}", {**inputs, flow: path}

    def _formats(self) -> Mapping[str, str]:
        assert issubclass(self.plugin, Stage)
        formats = {**self.plugin.inputs, "data": self.data} if self.data else self.plugin.inputs
        return {flow: format_name for flow, format_name in formats.items() if flow not in self.unseen}


class DedupConformance(StageConformance):
    """A dedup plugin: clusters the sample corpus, which has near and exact duplicates, beside the sample benchmark."""


class TokenizerConformance(StageConformance):
    """A tokenizer plugin: trains on the sample corpus; the vocabulary must fit some 300 entries."""
