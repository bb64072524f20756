"""The shapes that rows of data sets have, and what is made of a row: a conversation, a preference or a problem.

A row is read by the first shape whose columns it has. What would change its meaning and has no place in that shape sets it apart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, cycle
from typing import Any

from workbench.artifacts.examples import Conversation, Example, Message, Preference, Problem
from workbench.kinds.columns import OF_ALL, OF_REQUESTS, Format, Reading
from workbench.kinds.turns import Turns, empty_system_turns, transcript, turns
from workbench.kinds.values import MISSING, UnusableRowError, checked_text, is_missing, text_of, text_or_number

_MARK = "####"
_REPEATED = 20
"""Characters from which a prompt that both answers begin with word for word is taken for a repeated one."""
_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3}(?:,\d{3})+)(?![\d,])")


@dataclass(frozen=True)
class Shaped:
    """What is made of a row."""

    example: Example
    """In the split ``train``, whatever split it will be in."""
    format: Format
    changes: tuple[str, ...] = ()
    """What of the row was left out or changed on purpose, a word each, for counting."""


def shape(values: Mapping[str, Any], reading: Reading) -> Shaped:
    """What a row that is no document becomes.

    Raises:
        UnusableRowError: no shape fits it, a value of the one that fits cannot be used, or it holds a field that would change its
            meaning and that the shape does not read.
    """
    row = _RowReader(values, reading)
    format = row.format()
    example = _MAKERS[format](row)
    row.require_nothing_unread(format)
    return Shaped(example, format, tuple(dict.fromkeys(row.changes)))


class _RowReader:
    """One row's columns, with a note of those that were read."""

    def __init__(self, values: Mapping[str, Any], reading: Reading) -> None:
        self.values, self.reading, self.columns = values, reading, reading.columns
        self.changes: list[str] = []
        self._read: set[str] = set()

    def has(self, name: str | None) -> bool:
        """Whether a column has a value."""
        return name is not None and not is_missing(self.values.get(name))

    def format(self) -> Format:
        """The first format whose columns have values, else the first whose columns are there, else the first."""
        reading, wanted = self.reading, self.reading.required
        full = (format for format, names in wanted.items() if all(self.has(name) for name in names))
        there = (format for format, names in wanted.items() if all(name in self.values for name in names))
        format = next(chain(full, there, wanted))
        if reading.format == "auto" and format == "gsm8k" and _gold(str(self.values.get(self.columns.answer))) is None:
            return "prompt-answer"
        return format

    def text(self, name: str) -> str:
        """The text of a column."""
        self._read.add(name)
        return text_of(self.values, name, self.reading.max_bytes)

    def number(self, name: str) -> str:
        """The text or number of a column."""
        self._read.add(name)
        return text_or_number(self.values, name, self.reading.max_bytes)

    def turns(self, name: str, text_is: str | None = None) -> Turns:
        """The turns of a column."""
        self._read.add(name)
        if name not in self.values:
            raise UnusableRowError("missing-column", f"no {name!r}")
        value = self.values[name]
        self.changes += ["empty-system-turn"] * bool(empty_system_turns(value))
        return turns(value, name, self.reading.max_bytes, text_is=text_is)

    def with_system(self, made: Turns) -> Turns:
        """The turns after the system's of its own column, if there is one."""
        name = self.columns.system
        if not self.has(name):
            return made
        system = Message(role="system", content=self.text(name))
        if made and made[0]["role"] == "system":
            if made[0]["content"].strip() != system["content"].strip():
                raise UnusableRowError("two-system-turns", f"{name!r} differs from the system's message")
            return made
        return (system, *made)

    def alpaca_request(self) -> Turns:
        """Former turns, and the instruction with its input below it."""
        columns = self.columns
        request = self.text(columns.instruction)
        self._read.add(columns.input)
        if self.has(columns.input):
            request += "\n\n" + self.text(columns.input)
        return (*self._history(), Message(role="user", content=request))

    def _history(self) -> Iterator[Message]:
        name = self.columns.history
        self._read.add(name)
        pairs = self.values[name] if self.has(name) else []
        if not isinstance(pairs, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
            raise UnusableRowError("not-messages", f"{name!r} is no list of pairs of request and answer")
        for role, said in zip(cycle(("user", "assistant")), chain.from_iterable(pairs), strict=False):
            yield Message(role=role, content=text_of({name: said}, name, self.reading.max_bytes))

    def request(self) -> Turns | None:
        """The request of a preference or problem; None if no column for one is there."""
        columns = self.columns
        if columns.prompt in self.values:
            return self._prompt(columns.prompt)
        if columns.question in self.values:
            return self._prompt(columns.question)
        if columns.instruction in self.values:
            return self.alpaca_request()
        dialogue = next((name for name in (columns.conversations, columns.messages) if name in self.values and name), None)
        return self.turns(dialogue) if dialogue else None

    def _prompt(self, name: str) -> Turns:
        value = self.values[name]
        said = transcript(value) if isinstance(value, str) else None
        if said and len(said) > 1 and said[-1]["role"] == "assistant" and not said[-1]["content"]:
            self._read.add(name)
            self.changes.append("transcript")
            return said[:-1]
        return self.turns(name, "user")

    def answer(self, name: str, request: Turns | None) -> Turns:
        """An answer of a preference, with the turns before it if it holds them."""
        value = self.values.get(name)
        if request is None and isinstance(value, str) and (said := transcript(value)):
            self._read.add(name)
            if not all(turn["content"] for turn in said):
                raise UnusableRowError(MISSING, f"{name!r} has an empty turn")
            self.changes.append("transcript")
            return said
        repeated = len(self._repeated_prompt())
        if not repeated:
            return self.turns(name, "assistant")
        self._read.add(name)
        self.changes.append("repeated-prompt")
        return (Message(role="assistant", content=self.text(name)[repeated:].strip()),)

    def _repeated_prompt(self) -> str:
        """The text of the prompt if both answers are texts that begin with it and go on."""
        prompt, *answers = (self.values.get(name) for name in (self.columns.prompt, self.columns.chosen, self.columns.rejected))
        if not isinstance(prompt, str) or len(prompt.strip()) < _REPEATED:
            return ""
        repeat = all(
            isinstance(answer, str) and answer.startswith(prompt) and answer[len(prompt) :].strip() for answer in answers
        )
        return prompt if repeat else ""

    def tools(self) -> str | None:
        """The tools as JSON text."""
        name = self.columns.tools
        self._read.add(name)
        if not self.has(name):
            return None
        value = self.values[name]
        try:
            listed = json.loads(value) if isinstance(value, str) else value
        except (ValueError, RecursionError) as error:
            raise UnusableRowError("malformed-json", f"{name!r}: {error}") from error
        if not isinstance(listed, list) or not all(isinstance(tool, dict) for tool in listed):
            raise UnusableRowError("bad-tools", f"{name!r} is no list of tools")
        return checked_text(json.dumps(listed, ensure_ascii=False), self.reading.max_bytes) if listed else None

    def require_nothing_unread(self, format: Format) -> None:
        """Refuse a row with a value that would change what it says, and that was not read."""
        names = OF_ALL if format in ("messages", "sharegpt") else (*OF_ALL, *OF_REQUESTS)
        for name in names:
            if (
                name not in self._read
                and name not in self.reading.ignored
                and self.has(name)
                and _counts(name, self.values[name])
            ):
                raise UnusableRowError("unread-field", f"{name!r} has a value, which the format {format} does not read")


def _counts(name: str, value: Any) -> bool:
    """Whether a value changes what the row says: a weight of 1 does not, nor does a label but ``false``, that of a bad answer."""
    if name == "weight":
        return bool(value != 1)
    return value is False if name == "label" else True


def _dialogue(row: _RowReader, name: str) -> Conversation:
    return _conversation(row.with_system(row.turns(name)), row.tools())


def _alpaca(row: _RowReader) -> Conversation:
    request = row.alpaca_request()
    answer = Message(role="assistant", content=row.text(row.columns.output))
    return _conversation((*row.with_system(request), answer), row.tools())


def _prompt_completion(row: _RowReader) -> Conversation:
    request = row.turns(row.columns.prompt, "user")
    return _conversation(row.with_system(request) + row.turns(row.columns.completion, "assistant"), row.tools())


def _conversation(made: Turns, tools: str | None) -> Conversation:
    if all(turn["role"] != "assistant" for turn in made):
        raise UnusableRowError("no-answer", "no message is the assistant's")
    if not any(turn.get("weight", 1) for turn in made if turn["role"] == "assistant"):
        raise UnusableRowError("no-answer", "every message of the assistant has weight 0")
    return Conversation(made, tools=tools)


def _preference(row: _RowReader) -> Preference:
    columns = row.columns
    request = row.request()
    better, worse = row.answer(columns.chosen, request), row.answer(columns.rejected, request)
    if better == worse:
        raise UnusableRowError("no-preference", "chosen and rejected are the same")
    shared = _shared(better, worse)
    if shared and request:
        row.changes.append("repeated-prompt")
    prompt = row.with_system(_joined(request, shared, row))
    chosen, rejected = better[len(shared) :], worse[len(shared) :]
    for name, answer in ((columns.chosen, chosen), (columns.rejected, rejected)):
        if answer[0]["role"] != "assistant" or any(turn["role"] not in ("assistant", "tool") for turn in answer):
            raise UnusableRowError("not-an-answer", f"{name!r} holds turns of others after the part that both have")
    if any(turn.get("weight", 1) != 1 for turn in (*chosen, *rejected)):
        raise UnusableRowError("unread-field", "an answer has a 'weight' of 0, and both answers are learnt whole")
    return Preference(_unweighted(prompt), _unweighted(chosen), _unweighted(rejected))


def _shared(better: Turns, worse: Turns) -> Turns:
    """The turns that both begin with, if they are more than an answer."""
    number = 0
    while number < min(len(better), len(worse)) - 1 and better[number] == worse[number]:
        number += 1
    shared = better[:number]
    return shared if any(turn["role"] != "assistant" for turn in shared) else ()


def _joined(request: Turns | None, shared: Turns, row: _RowReader) -> Turns:
    """The prompt: of its own column, or what both answers begin with, or both where they say the same."""
    asks = any(turn["role"] == "user" for turn in shared)
    if request is None:
        if not asks:
            raise UnusableRowError("no-prompt", f"no column {row.columns.prompt!r}, and the answers share no turn of the user's")
        return shared
    if not asks:
        if shared and request[0]["role"] == "system" and request[0] != shared[0]:
            raise UnusableRowError("two-system-turns", "the answers' message of the system differs from the prompt's")
        return request if shared and request[0]["role"] == "system" else shared + request
    if request[0]["role"] == "system" and _plain(request[1:]) == _plain(shared):
        return request
    questions = [text for role, text in _plain(shared) if role == "user"]
    whole = _plain(request) in (_plain(shared), _plain(shared[1:] if shared[0]["role"] == "system" else shared))
    if whole or (len(request) == 1 and _plain(request)[0][1] in (questions[0], questions[-1])):
        return shared
    raise UnusableRowError("prompt-differs", "the answers begin with other turns than the prompt")


def _plain(made: Turns) -> list[tuple[str, str]]:
    return [(turn["role"], turn["content"].strip()) for turn in made]


def _problem(row: _RowReader, answer: str) -> Problem:
    request = row.request()
    if request is None:
        raise UnusableRowError("missing-column", f"no {row.columns.prompt!r}")
    prompt = _unweighted(row.with_system(request))
    return Problem(prompt, answer, row.reading.verifier or row.text(row.columns.verifier))


def _gsm8k(row: _RowReader) -> Problem:
    """The answer is what follows ``####``, without commas between thousands, as its authors read it (Cobbe et al. 2021)."""
    found = _gold(row.text(row.columns.answer))
    if not found:
        raise UnusableRowError("no-gold", f"{row.columns.answer!r} does not end in a line `{_MARK} ANSWER`")
    row.changes.append("gold-of-gsm8k")
    return _problem(row, _THOUSANDS.sub(lambda number: number[1].replace(",", ""), found))


def _gold(text: str) -> str | None:
    """What follows the mark in the last line; None if that line has no mark at its beginning."""
    line = text.rstrip().rpartition("\n")[2].strip()
    return line.removeprefix(_MARK).strip() if line.startswith(_MARK) else None


def _unweighted(made: Turns) -> Turns:
    """The turns without weights, which say nothing of what is not learnt, or learnt whole."""
    for turn in made:
        turn.pop("weight", None)
    return made


_MAKERS: Mapping[Format, Callable[[_RowReader], Example]] = {
    "messages": lambda row: _dialogue(row, row.columns.messages or ""),
    "sharegpt": lambda row: _dialogue(row, row.columns.conversations),
    "alpaca": _alpaca,
    "prompt-completion": _prompt_completion,
    "preferences": _preference,
    "gsm8k": _gsm8k,
    "prompt-answer": lambda row: _problem(row, row.number(row.columns.answer)),
}
