"""Guesses what rows are: the artifact, the format and the column map by which most of them can be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from workbench.kinds.columns import FORMATS, ColumnMap, Format, Produces, Reading
from workbench.kinds.shapes import shape
from workbench.kinds.values import UnusableRowError, is_missing, text_of

VERIFIER = "exact-answer"
"""The reward plugin that is named for problems whose rows name none."""
_OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "text": ("content", "document", "body", "article", "passage", "raw_content"),
    "messages": ("conversation", "dialogue", "dialog", "chat", "turns"),
    "conversations": ("conversation", "dialogue", "dialog", "turns"),
    "input": ("context",),
    "output": ("response", "answer", "completion"),
    "completion": ("response", "output", "answer", "answers"),
    "prompt": ("question", "query", "input", "problem", "user"),
    "chosen": ("better", "preferred", "accepted", "positive", "preferred_output"),
    "rejected": ("worse", "dispreferred", "negative", "non_preferred_output"),
    "answer": ("solution", "final_answer", "expected_answer", "target"),
    "system": ("system_prompt",),
}
_FIELDS: Mapping[Format, tuple[str, ...]] = {
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "alpaca": ("instruction", "output"),
    "prompt-completion": ("prompt", "completion"),
    "preferences": ("chosen", "rejected", "prompt"),
    "gsm8k": ("question", "answer"),
    "prompt-answer": ("prompt", "answer"),
}
_OPTIONAL = {
    "alpaca": ("input", "system"),
    "prompt-completion": ("system",),
    "preferences": ("system",),
    "prompt-answer": ("system",),
}
_ORDER: tuple[Produces, ...] = ("preferences", "problems", "conversations")
_SHORT = 40
"""Characters up to which an answer looks like one that a program can check."""

_LONG = 20
"""Characters, on average, from which a column of another name looks like documents."""


@dataclass(frozen=True)
class Recognised:
    """How rows may be read."""

    reading: Reading
    mapped: Mapping[str, str]
    """What of the column map is not the default."""
    fit: int
    """Rows that can be read so."""

    def settings(self) -> dict[str, Any]:
        """The keys of the source's configuration, without those that have their defaults."""
        made: dict[str, Any] = {"produces": self.reading.produces}
        if self.reading.format != "auto":
            made["format"] = self.reading.format
        if self.mapped:
            made["columns"] = dict(self.mapped)
        if self.reading.verifier:
            made["verifier"] = self.reading.verifier
        return made

    def __str__(self) -> str:
        parts = [f"`produces: {self.reading.produces}`", f"`format: {self.reading.format}`"]
        if self.reading.produces == "corpus":
            parts.pop()
        if self.mapped:
            parts.append("`columns: {" + ", ".join(f"{field}: {name}" for field, name in self.mapped.items()) + "}`")
        if self.reading.verifier:
            parts.append(f"`verifier: {self.reading.verifier}`")
        return ", ".join(parts)


def recognise(rows: Sequence[Mapping[str, Any]]) -> Recognised | None:
    """The way that reads most of the rows, of equals the first; None if no way reads any."""
    if not rows:
        return None
    present = {name for row in rows for name in row}
    named = max([*_as_examples(rows, present), *_as_corpus(rows, present)], key=lambda way: way.fit, default=None)
    if named is not None and named.fit * 2 > len(rows):
        return named
    return _as_longest_text(rows, present) or (named if named is not None and named.fit else None)


def _as_examples(rows: Sequence[Mapping[str, Any]], present: set[str]) -> Iterator[Recognised]:
    for produces in _ORDER:
        for format in FORMATS[produces]:
            for mapped in _maps(format, present):
                verifier = VERIFIER if produces == "problems" and "verifier" not in present else None
                reading = Reading(produces, format, ColumnMap(**mapped), verifier)
                fit = sum(_fits(row, reading) for row in rows)
                if produces != "problems" or _look_checkable(rows, reading):
                    yield Recognised(reading, mapped, fit)


def _maps(format: Format, present: set[str]) -> Iterator[dict[str, str]]:
    """Column maps by which the format's fields are there, the defaults first."""
    choices = {field: [name for name in (field, *_OTHER_NAMES.get(field, ())) if name in present] for field in _FIELDS[format]}
    if format == "preferences" and not choices["prompt"]:
        choices.pop("prompt")
    for field in _OPTIONAL.get(format, ()):
        if field not in present and (others := [name for name in _OTHER_NAMES[field] if name in present]):
            choices[field] = others[:1]
    for names in product(*choices.values()):
        if len(set(names)) == len(names):
            yield {field: name for field, name in zip(choices, names, strict=True) if field != name}


def _as_corpus(rows: Sequence[Mapping[str, Any]], present: set[str]) -> Iterator[Recognised]:
    for name in ("text", *_OTHER_NAMES["text"]):
        if name in present:
            reading = Reading("corpus", columns=ColumnMap(text=name))
            fit = sum(_has_text(row, name, reading.max_bytes) for row in rows)
            yield Recognised(reading, {} if name == "text" else {"text": name}, fit)


def _as_longest_text(rows: Sequence[Mapping[str, Any]], present: set[str]) -> Recognised | None:
    """A corpus of the column with the longest texts, if they are longer than names are."""
    lengths = {
        name: sum(len(row[name]) for row in rows if isinstance(row.get(name), str)) / len(rows) for name in sorted(present)
    }
    longest = max(lengths, key=lambda name: lengths[name])
    if lengths[longest] < _LONG:
        return None
    reading = Reading("corpus", columns=ColumnMap(text=longest))
    return Recognised(reading, {"text": longest}, sum(_has_text(row, longest, reading.max_bytes) for row in rows))


def _fits(row: Mapping[str, Any], reading: Reading) -> bool:
    try:
        shape(row, reading)
    except UnusableRowError:
        return False
    return True


def _has_text(row: Mapping[str, Any], name: str, max_bytes: int) -> bool:
    try:
        text_of(row, name, max_bytes)
    except UnusableRowError:
        return False
    return True


def _look_checkable(rows: Sequence[Mapping[str, Any]], reading: Reading) -> bool:
    """Whether answers are short, or end in one: else question and answer are a conversation."""
    answers = [str(row[reading.columns.answer]) for row in rows if not is_missing(row.get(reading.columns.answer))]
    return reading.format == "gsm8k" or sum(len(answer) <= _SHORT for answer in answers) * 2 > len(answers)
