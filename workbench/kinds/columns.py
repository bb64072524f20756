"""Columns of rows: what they are called, and which of them each format of rows has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from workbench.plugin import Config

Produces = Literal["corpus", "conversations", "preferences", "problems"]
Format = Literal["auto", "messages", "sharegpt", "alpaca", "prompt-completion", "preferences", "gsm8k", "prompt-answer"]
FORMATS: Mapping[Produces, tuple[Format, ...]] = {
    "corpus": (),
    "conversations": ("messages", "sharegpt", "alpaca", "prompt-completion"),
    "preferences": ("preferences",),
    "problems": ("gsm8k", "prompt-answer"),
}
"""The formats of the rows that each artifact is made from, in the order in which ``auto`` tries them."""
_MEDIA = ("image", "images", "audio", "audios", "video", "videos")
OF_ALL = ("system", "system_prompt", "tools", "functions", "weight", "label", "chat_template_kwargs", *_MEDIA)
"""Columns that change what any row says."""
OF_REQUESTS = ("input", "context", "history", "choices", "options")
"""Columns that belong to a request which is no list of messages."""


class ColumnMap(Config):
    """Names of the table's columns that the workbench needs; only those of the produced format are read."""

    text: str = "text"
    """Corpus: the document."""
    source: str | None = None
    """Corpus: a coarse origin, such as a site; null takes the folder or the kind of file."""
    messages: str | None = "messages"
    """Conversations: list of {role, content}; null passes it over."""
    conversations: str = "conversations"
    """Format sharegpt: list of {from, value}."""
    instruction: str = "instruction"
    """Format alpaca: the request."""
    input: str = "input"
    """Format alpaca: what the request is about, set below it."""
    output: str = "output"
    """Format alpaca: the answer."""
    history: str = "history"
    """Format alpaca: list of [request, answer] of the turns before."""
    completion: str = "completion"
    """Format prompt-completion: the answer, as text or messages."""
    prompt: str = "prompt"
    """Preferences, problems, and format prompt-completion: the request, as text or messages."""
    question: str = "question"
    """Format gsm8k: the request."""
    system: str = "system"
    """The system's turn, set before the others."""
    tools: str = "tools"
    """Conversations: the tools that may be called, as a list or its JSON text."""
    chosen: str = "chosen"
    """Preferences: the better answer, as text or messages."""
    rejected: str = "rejected"
    """Preferences: the worse answer, as text or messages."""
    answer: str = "answer"
    """Problems: the right answer."""
    verifier: str = "verifier"
    """Problems: name of the reward plugin that checks the answer, unless `verifier` of the source says it for all."""


@dataclass(frozen=True)
class Reading:
    """How rows are read."""

    produces: Produces
    format: Format = "auto"
    columns: ColumnMap = field(default_factory=ColumnMap)
    verifier: str | None = None
    ignored: tuple[str, ...] = ()
    """Columns that may stay unread although they change a row's meaning in other data sets."""
    max_bytes: int = 10_000_000

    @cached_property
    def required(self) -> Mapping[Format, tuple[str, ...]]:
        """The formats that are tried, each with the columns that its rows have."""
        columns = self.columns
        names: dict[Format, tuple[str | None, ...]] = {
            "messages": (columns.messages,),
            "sharegpt": (columns.conversations,),
            "alpaca": (columns.instruction, columns.output),
            "prompt-completion": (columns.prompt, columns.completion),
            "preferences": (columns.chosen, columns.rejected),
            "gsm8k": (columns.answer,),
            "prompt-answer": (columns.answer,),
        }
        tried = FORMATS[self.produces] if self.format == "auto" else (self.format,)
        named = {format: tuple(name for name in names[format] if name) for format in tried}
        return {format: wanted for format, wanted in named.items() if wanted}

    def reads(self, column: str) -> bool:
        """Whether a column decides what is made of a row."""
        columns = self.columns
        if self.produces == "corpus":
            return column in (columns.text, columns.source)
        named = {getattr(columns, name) for name in ColumnMap.model_fields} - {columns.text, columns.source}
        return column in named or column in OF_ALL or column in OF_REQUESTS

    def fits(self, present: set[str]) -> bool:
        """Whether rows with these columns can be read."""
        if self.produces == "corpus":
            return self.columns.text in present and (self.columns.source is None or self.columns.source in present)
        if self.produces == "problems":
            requests = {self.columns.prompt, self.columns.question, self.columns.instruction}
            told = self.verifier is not None or self.columns.verifier in present
            return self.columns.answer in present and bool(requests & present) and told
        return any(present.issuperset(names) for names in self.required.values())
