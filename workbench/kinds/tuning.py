"""Base of the kinds that train a model further, on examples: what `perplexity` reads stays out of what they train on."""

from __future__ import annotations

import shutil
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from workbench.artifacts import table
from workbench.artifacts.corpus import Corpus
from workbench.artifacts.words import words
from workbench.errors import ArtifactError
from workbench.kinds.stage import Stage
from workbench.plugin import C
from workbench.run import Cell, Run

HELDOUT = "heldout"
NGRAM = 5
"""Words in a shingle. Messages of fewer words are not compared: such as "Yes, it is." stand everywhere, and hold few bytes."""
OVERLAP = 0.5
"""A row is left out where a message of it shares this part, or more, of the smaller text's shingles with a held-out document."""
BLOCK = 4_096
SHOWN = 20
EXCERPT = 200


class TuningStage(Stage[C]):
    """Reads ``data``, the examples, and, where dvc.yaml names it, ``heldout``, the documents that no row may repeat."""

    optional: ClassVar[frozenset[str]] = frozenset({HELDOUT})
    outputs: ClassVar[Mapping[str, str]] = {"out": "model"}
    machine_dependent: ClassVar[bool] = True

    def __init_subclass__(cls, **options: Any) -> None:
        """Let every subclass, whichever inputs it declares, be given the held-out documents."""
        super().__init_subclass__(**options)
        cls.inputs = {**cls.inputs, HELDOUT: "corpus"}

    @abstractmethod
    def tune(self, model: Path, data: Path, out: Path, run: Run) -> None:
        """Save the trained model to ``out``. Implemented by the kind."""

    def execute(self, inputs: Mapping[str, Path], outputs: Mapping[str, Path], run: Run) -> None:
        """Leave out the rows that repeat held-out documents, then train."""
        data = inputs["data"]
        if HELDOUT in inputs:
            data = without_heldout(data, inputs[HELDOUT], run)
        self.tune(inputs["model"], data, outputs["out"], run)


def without_heldout(data: Path, heldout: Path, run: Run) -> Path:
    """A copy of examples without the training rows that repeat a held-out document; how many they are becomes a metric.

    Raises:
        ArtifactError: no training row is left.
    """
    copy = run.scratch / "data-apart"
    copy.mkdir(parents=True, exist_ok=True)
    for shard in table.shards(data, HELDOUT):
        shutil.copyfile(shard, copy / shard.name)
    schema = table.read_schema(data, "train")
    dropped: list[dict[str, Cell]] = []
    with table.ShardWriter(copy, {name: schema.field(name).type for name in schema.names}, "train") as kept:
        for row, repeated in _compared(data, heldout, run):
            if repeated is None:
                kept.write(row)
            else:
                dropped.append({"id": row["id"], "text": repeated[:EXCERPT]})
    run.metric("removed_overlap_heldout", len(dropped))
    if dropped:
        run.table("overlaps-heldout", "Training rows left out since held-out documents hold this, the first", dropped[:SHOWN])
    if dropped and not kept.rows:
        fix = "give it data that differs from the held-out documents, or lower `heldout` of dedup"
        raise ArtifactError(f"all {len(dropped)} training rows repeat held-out documents", str(data), fix)
    return copy


def _compared(data: Path, heldout: Path, run: Run) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Each training row with the first of its texts that repeats a held-out document, None where none does."""
    import numpy as np

    from workbench.artifacts.shingles import shared, shingle

    documents = shingle(Corpus(heldout).texts(), NGRAM)
    rows = table.read_rows(data, prefix="train")
    total = table.count_rows(data, "train")
    rows = iter(run.track(rows, unit="rows", total=total, label="rows that held-out documents hold"))
    while block := list(islice(rows, BLOCK)):
        found = [(place, text) for place, row in enumerate(block) for text in _texts(row) if len(words(text)) >= NGRAM]
        sets = shingle((text for _, text in found), NGRAM)
        repeated: dict[int, str] = {}
        for pairs in shared(sets, documents):
            smaller = np.minimum(sets.sizes[pairs.queries], documents.sizes[pairs.targets])
            for query in np.unique(pairs.queries[pairs.counts >= OVERLAP * smaller]).tolist():
                repeated.setdefault(*found[query])
        yield from ((row, repeated.get(place)) for place, row in enumerate(block))


def _texts(row: Mapping[str, Any]) -> Iterator[str]:
    """What a model may learn to write from a row: the texts of its messages, and a problem's answer."""
    for name, value in row.items():
        if isinstance(value, list):
            yield from (message["content"] for message in value if message["content"])
        elif name == "answer":
            yield value
