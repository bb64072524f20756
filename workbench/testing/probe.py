"""Stages that run plugins that are not stages themselves, so that every kind is tested the same way."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from workbench.artifacts.corpus import Document
from workbench.errors import PluginError
from workbench.kinds.filter import Filter
from workbench.kinds.reward import Reward, score
from workbench.kinds.source import Source
from workbench.kinds.stage import Stage
from workbench.plugin import Config
from workbench.run import Run

SAMPLE = "sample"
"""The input flow of a probe, a JSON file written by the test."""


class Given(Source[Config]):
    """Curates given documents with the filters under test."""

    name = "given"
    Config = Config
    produces = "corpus"
    inputs: ClassVar[Mapping[str, str]] = {SAMPLE: "json"}

    def execute(self, inputs: Mapping[str, Path], outputs: Mapping[str, Path], run: Run) -> None:
        """Read the documents, then curate them as any source."""
        self._given = [Document(**row) for row in json.loads(inputs[SAMPLE].read_text(encoding="utf-8"))]
        for document in self._given:
            self._require_rule(document)
        super().execute(inputs, outputs, run)

    def records(self, run: Run) -> Iterator[Document]:
        """The documents in their order."""
        yield from self._given

    def _require_rule(self, document: Document) -> None:
        for filter_ in self.members["filters"]:
            assert isinstance(filter_, Filter)
            rule = filter_.reject(filter_.clean(document))
            if not (rule is None or (isinstance(rule, str) and rule)):
                what = f"`reject` returned {rule!r} for a document of {len(document.text)} characters"
                raise PluginError(what, f"filter {filter_.name!r}", "return the name of the broken rule, or None to keep it")


class Scoring(Stage[Config]):
    """Scores given completions with the reward under test."""

    kind: ClassVar[str] = "scoring"
    name = "scoring"
    Config = Config
    inputs: ClassVar[Mapping[str, str]] = {SAMPLE: "json"}
    outputs: ClassVar[Mapping[str, str]] = {"out": "folder"}

    def execute(self, inputs: Mapping[str, Path], outputs: Mapping[str, Path], run: Run) -> None:
        """Write one score per completion.

        Raises:
            PluginError: it raised an error, or a score is not a finite number.
        """
        (reward,) = self.members["rewards"]
        assert isinstance(reward, Reward)
        scores = []
        for completion, answer in json.loads(inputs[SAMPLE].read_text(encoding="utf-8")):
            scores.append(score(reward, completion, answer))
        outputs["out"].mkdir(parents=True)
        (outputs["out"] / "scores.json").write_text(json.dumps(scores), encoding="utf-8")


def stage_of(plugin: type[Any], config: Any, parts: Mapping[str, Sequence[Any]]) -> Stage[Any]:
    """The plugin as a stage: itself, or a probe around it."""
    if issubclass(plugin, Stage):
        return plugin(config, parts)
    member = plugin(config)
    if plugin.kind == "filter":
        return Given(Config(), {"filters": [member]})
    if plugin.kind == "reward":
        return Scoring(Config(), {"rewards": [member]})
    raise PluginError(f"the kit cannot run a {plugin.kind}", plugin.__name__, "use the conformance class of its kind")
