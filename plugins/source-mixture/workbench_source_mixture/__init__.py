"""Conversations of several sources; problems become conversations that end with the right answer."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, cast

from pydantic import Field

from workbench import hookimpl
from workbench.artifacts.examples import Conversation, Problem, Split, asked
from workbench.errors import ParamsError
from workbench.kinds.source import Source
from workbench.plugin import Config, Plugin
from workbench.run import Run

MIXED = ("conversations", "problems")


class MixtureConfig(Config):
    """Configuration of the plugin ``mixture``."""

    answer: str = Field("{answer}", min_length=8)
    """What the assistant says to a problem; ``{answer}`` stands for the right answer."""


class Mixture(Source[MixtureConfig]):
    """The rows of several sources, one source after the other, as Tülu 3 mixes skills (Lambert et al. 2024, arXiv:2411.15124).

    The sources stand under ``sources:`` and share the stage's seed. The training stage draws from all rows alike, so the
    number of rows of a source is its weight. A row whose question an earlier row has on the other side of the split, as
    sources that hold out other shares give them, is left out and counted.
    """

    name: ClassVar[str] = "mixture"
    Config = MixtureConfig
    parts: ClassVar[Mapping[str, str]] = {"sources": "source"}
    produces = "conversations"

    def __init__(self, config: MixtureConfig, parts: Mapping[str, Sequence[Plugin[Any]]] | None = None) -> None:
        super().__init__(config, parts)
        self.sources = cast("Sequence[Source[Any]]", self.members.get("sources", ()))
        if not self.sources:
            raise ParamsError("the mixture has no source", "params.yaml, section curate", "list some under `sources:`")
        for source in self.sources:
            if source.produces not in MIXED:
                raise ParamsError(
                    f"the mixture has the source {source.name!r}, which produces {source.produces}",
                    "params.yaml, section curate",
                    f"list sources of {' or '.join(MIXED)}",
                )

    def records(self, run: Run) -> Iterator[Conversation]:
        """Conversations in the order of the sources."""
        rows: Counter[str] = Counter()
        sides: dict[bytes, Split] = {}
        for source in self.sources:
            source.skipped, source.shown = self.skipped, self.shown
            for record in source.records(run):
                conversation = self._conversation(cast("Conversation | Problem", record))
                question = hashlib.blake2b(asked(conversation.messages).encode(), digest_size=16).digest()
                if sides.setdefault(question, conversation.split) != conversation.split:
                    self.skip("question-in-other-split")
                    continue
                rows[source.name] += 1
                yield conversation
        for name, number in rows.items():
            run.metric(f"rows.{name}", number)

    def _conversation(self, record: Conversation | Problem) -> Conversation:
        if isinstance(record, Conversation):
            return record
        text = self.config.answer.replace("{answer}", record.answer)
        return Conversation((*record.prompt, {"role": "assistant", "content": text}), record.split)


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """Offer the plugin."""
    return [Mixture]
