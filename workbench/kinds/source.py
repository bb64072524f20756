"""Kind ``source``: where data comes from. A source, its filters and the verifiers of its problems are the stage `curate`."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, cast

from workbench.artifacts import benchmark, corpus, examples, table
from workbench.artifacts.benchmark import Question
from workbench.artifacts.corpus import Document
from workbench.artifacts.examples import Example
from workbench.artifacts.table import Columns
from workbench.errors import ArtifactError, ParamsError
from workbench.kinds.filter import Filter
from workbench.kinds.reward import Reward, require_right_answers
from workbench.kinds.stage import OWN, Stage
from workbench.plugin import C
from workbench.run import Chart, Run

Record = Document | Example | Question
DECISIONS: Columns = {
    "id": "string",
    "source": "string",
    "kept": "bool",
    "rule": "string",
    "characters": "int64",
    "excerpt": "string",
}
EXCERPT = 200
EXAMPLES_PER_RULE = 5
REPEATED = "source:repeated"


class Source(Stage[C]):
    """Yields records of one format; the base class filters documents, and writes, counts and explains them."""

    kind: ClassVar[str] = "source"
    section: ClassVar[str] = "curate"
    makes: ClassVar[str] = "curated"
    nested: ClassVar[bool] = True
    inputs: ClassVar[Mapping[str, str]] = {}
    outputs: ClassVar[Mapping[str, str]] = {"out": OWN, "decisions": "decisions"}
    parts: ClassVar[Mapping[str, str]] = {"filters": "filter", "verifiers": "reward"}
    produces: str
    """The artifact format: corpus, conversations, preferences, problems or benchmark."""
    meta_fields: ClassVar[tuple[str, ...]] = ("origin",)
    """Fields of every document's ``meta``, for corpora."""
    skipped: Counter[str]
    """Records the source could not read, by reason, as counted with :meth:`skip`."""
    shown: dict[str, list[dict[str, Any]]]
    """Rows of the tables that :meth:`show` shows; like ``skipped``, one for all sources of a stage."""

    @abstractmethod
    def records(self, run: Run) -> Iterator[Record]:
        """Yield Document, Conversation, Preference, Problem or Question records in a fixed order."""

    def skip(self, reason: str, records: int = 1) -> None:
        """Count unusable records; they appear in the funnel."""
        self.skipped[reason] += records

    def show(self, run: Run, table: str, title: str, rows: list[dict[str, Any]]) -> None:
        """Show rows in a table that several sources of one stage may share."""
        shown = self.shown.setdefault(table, [])
        shown += rows
        if shown:
            run.table(table, title, list(shown))

    def add(self, run: Run, metric: str, number: int) -> None:
        """Add to a metric that several sources of one stage may report."""
        run.metric(metric, number + int(run.summary.get(metric, 0)))

    def execute(self, inputs: Mapping[str, Path], outputs: Mapping[str, Path], run: Run) -> None:
        """Write the artifact to ``out`` and a row per decision to ``decisions``."""
        self.skipped, self.shown = Counter(), {}
        records = self.records(run)
        filters = cast("list[Filter[Any]]", list(self.members.get("filters", ())))
        if filters and self.produces != "corpus":
            raise ParamsError(
                f"filters apply to a corpus, and {self.name!r} produces {self.produces}", run.stage, "remove `filters:`"
            )
        verifiers = cast("list[Reward[Any]]", list(self.members.get("verifiers", ())))
        if verifiers and self.produces != "problems":
            what = f"verifiers apply to problems, and {self.name!r} produces {self.produces}"
            raise ParamsError(what, run.stage, "remove `verifiers:`")
        if self.produces == "corpus":
            funnel = self._write_corpus(cast("Iterator[Document]", records), filters, outputs, run)
        else:
            funnel = Funnel()
            self._write_others(records, outputs, funnel)
        for split in examples.SPLITS if verifiers else ():
            require_right_answers(verifiers, examples.read(outputs["out"], split), "verifiers", f"{run.stage}, split {split}")
        funnel.report(self.skipped, run)

    def _write_corpus(
        self, documents: Iterator[Document], filters: list[Filter[Any]], outputs: Mapping[str, Path], run: Run
    ) -> Funnel:
        funnel = Funnel()
        identities = corpus.Identities()
        seen: set[str] = set()
        with ExitStack() as stack:
            kept = stack.enter_context(table.ShardWriter(outputs["out"], corpus.schema(self.meta_fields)))
            decisions = stack.enter_context(table.ShardWriter(outputs["decisions"], DECISIONS))
            for document in run.track(documents, unit="documents", label=self.name):
                document, rule = _judge(document, filters)
                content = table.content_id(asdict(document))
                if rule is None and content in seen:
                    rule = REPEATED
                seen.add(content)
                identity = identities.give(document) if rule is None else document.id
                funnel.count(document, rule)
                decisions.write(_decision(document, identity, rule))
                if rule is None:
                    row = {"id": identity, "text": document.text, "source": document.source, "meta": dict(document.meta)}
                    kept.write(row)
        if funnel.kept == 0:
            raise ArtifactError(
                f"no document is left of {funnel.read}; rejected by {dict(funnel.rejected) or 'none: the source is empty'}",
                run.stage,
                "loosen the filter that rejects most, or look at what the source reads",
            )
        return funnel

    def _write_others(self, records: Iterator[Record], outputs: Mapping[str, Path], funnel: Funnel) -> None:
        table.write_rows(outputs["decisions"], (), DECISIONS)
        records = funnel.counted(records)
        if self.produces == "benchmark":
            funnel.kept = benchmark.write(outputs["out"], cast("Iterator[Question]", records), self.name.replace("-", "_"))
        else:
            columns = examples.FORMATS[self.produces].schema
            funnel.splits = {
                str(split): rows
                for split, rows in examples.write(outputs["out"], cast("Iterable[Example]", records), columns).items()
            }
            funnel.kept = sum(funnel.splits.values())
        if funnel.read > funnel.kept:
            funnel.rejected[REPEATED] = funnel.read - funnel.kept


def _judge(document: Document, filters: list[Filter[Any]]) -> tuple[Document, str | None]:
    for filter_ in filters:
        document = filter_.clean(document)
        rule = filter_.reject(document)
        if rule is not None:
            return document, f"{filter_.name}:{rule}"
    return document, None


def _decision(document: Document, identity: str, rule: str | None) -> dict[str, Any]:
    return {
        "id": identity,
        "source": document.source,
        "kept": rule is None,
        "rule": rule,
        "characters": len(document.text),
        "excerpt": document.text[:EXCERPT] if rule else None,
    }


class Funnel:
    """Counts of what was read, rejected and kept."""

    def __init__(self) -> None:
        self.read = 0
        self.kept = 0
        self.characters = 0
        self.splits: dict[str, int] = {}
        self.rejected: Counter[str] = Counter()
        self.sources: Counter[str] = Counter()
        self.excerpts: dict[str, list[str]] = {}

    def counted(self, records: Iterable[Record]) -> Iterator[Record]:
        """The records, counted as they are read."""
        for record in records:
            self.read += 1
            yield record

    def count(self, document: Document, rule: str | None) -> None:
        """Count a document."""
        self.read += 1
        if rule is None:
            self.kept += 1
            self.characters += len(document.text)
            self.sources[document.source] += 1
            return
        self.rejected[rule] += 1
        shown = self.excerpts.setdefault(rule, [])
        if len(shown) < EXAMPLES_PER_RULE:
            shown.append(document.text[:EXCERPT])

    def report(self, skipped: Counter[str], run: Run) -> None:
        """Report the counts, the funnel and examples of rejected documents to the run."""
        run.metric("read", self.read + sum(skipped.values()))
        run.metric("kept", self.kept)
        if self.characters:
            run.metric("characters", self.characters)
        for split, rows in self.splits.items():
            run.metric(f"{split}_rows", rows)
        losses = [(f"unreadable:{reason}", number) for reason, number in sorted(skipped.items())]
        losses += sorted(self.rejected.items(), key=lambda item: (-item[1], item[0]))
        for rule, number in losses:
            run.metric(f"rejected.{rule.replace(':', '.')}", number)
        labels = ["read", *(rule for rule, _ in losses), "kept"]
        counts = [float(self.read + sum(skipped.values())), *(float(number) for _, number in losses), float(self.kept)]
        run.chart(Chart("funnel", "Records read, rejected by rule, and kept", "rule", "records", labels, {"records": counts}))
        run.table("funnel", "Funnel", [{"rule": rule, "records": int(count)} for rule, count in zip(labels, counts, strict=True)])
        if self.sources:
            run.table(
                "sources", "Kept documents by source", [{"source": s, "documents": n} for s, n in self.sources.most_common()]
            )
        if self.excerpts:
            shown = [{"rule": rule, "excerpt": text} for rule in sorted(self.excerpts) for text in self.excerpts[rule]]
            run.table("rejected", "Examples of rejected documents", shown)
