"""Edits of a YAML file that leave every byte as it is but those of the edited place: comments, anchors and layout stay.

ruamel.yaml's round trip would write the whole file again: it moves comments that follow an anchor, and drops those that follow a
block which is taken out. So its parser only says where things stand.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.events import (
    AliasEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from workbench.artifacts import yaml_1_2

MERGE = "<<"
INDENT = 2
LONGEST_FLOW = 100
"""Characters of a collection of plain values that is still written on one line."""
_PLAIN = re.compile(r"[\w./<(+$~=…-](?:[^\[\]{},?#]*[^\[\]{},?#\s:])?")
_DEFINITION = re.compile(r"&[^\s,\[\]{}]+[ \t]*")


@dataclass
class Node:
    """A value and where it stands: from ``start``, its anchor included, to the ``end`` of its last character."""

    start: int
    end: int
    anchor: str = ""
    alias: str = ""
    """The anchor that it refers to, where it is nothing but ``*NAME``."""
    flow: bool = False
    """Whether it is written in brackets or is a scalar."""
    key: str = ""
    """The text of a scalar."""
    pairs: list[tuple[Node, Node]] = field(default_factory=list)
    """Of a mapping."""
    items: list[Node] = field(default_factory=list)
    """Of a sequence."""

    def get(self, key: str) -> tuple[Node, Node] | None:
        """The key and the value under it, if they are written here."""
        return next((pair for pair in self.pairs if pair[0].key == key), None)

    def walk(self) -> Iterator[Node]:
        """This and all below, in the order of the file."""
        yield self
        for child in [node for pair in self.pairs for node in pair] + self.items:
            yield from child.walk()


@dataclass(frozen=True)
class Written:
    """Lines that are taken over as they are, ``key: value`` and the comment behind it."""

    text: str
    column: int
    """Where their first line began."""

    def at(self, column: int) -> str:
        """The lines, moved to begin in a column."""
        return " " * column + shifted(self.text, column - self.column)


Content = Mapping[str, Any]
"""Key → a value, or :class:`Written` for both."""


class Document:
    """A text and its nodes."""

    def __init__(self, text: str) -> None:
        self.text = text
        events = [event for event in YAML(typ="safe", pure=True).parse(text) if isinstance(event, Event)]
        nodes = [event for event in events if _is_of_node(event)]
        self.root = _node(_Events(text, nodes)) if nodes else Node(len(text), len(text))

    def find(self, keys: Sequence[str]) -> tuple[Node, Node] | None:
        """The last of the keys with its value, if they are all written out."""
        found = None
        node = self.root
        for key in keys:
            found = node.get(key)
            if found is None:
                return None
            node = found[1]
        return found

    def written(self, pair: tuple[Node, Node]) -> Written:
        """A key and its value as they stand there."""
        key, value = pair
        end = self._end_of_line(value.end) if self._begins_line(key) else value.end
        return Written(self.text[key.start : end], self._column(key.start))

    def merged(self, node: Node) -> set[str]:
        """The keys that ``<<:`` with that value brings."""
        if node.alias:
            defined = [other for other in self.root.walk() if other.anchor == node.alias and other.start < node.start]
            return self.merged(defined[-1]) if defined else set()
        found = {key.key for key, _ in node.pairs} - {MERGE}
        merges = [value for key, value in node.pairs if key.key == MERGE] + node.items
        return found.union(*map(self.merged, merges))

    def replaced(self, keys: Sequence[str], content: Content, values: Mapping[str, Any]) -> str:
        """The text with other content of a mapping; definitions of anchors in it move to where they are first needed.

        Args:
            keys: where the mapping stands.
            content: what it is to hold.
            values: the same without anything taken over, for a mapping within brackets.
        """
        pair = self.find(keys)
        assert pair is not None
        key, value = pair
        if self._begins_line(key):
            column = self._column(key.start)
            name = self.text[key.start : key.end]
            new = f"{name}:\n{block(content, column + INDENT)}".rstrip("\n")
            return self._spliced(key.start, self._end_of_line(value.end), new)
        return self._spliced(value.start, value.end, flow(values))

    def inserted(self, keys: Sequence[str], key: str, value: Any) -> str:
        """The text with one more key at the end of the mapping that stands at ``keys``."""
        found = self.find(keys)
        mapping = self.root if found is None else found[1]
        if not mapping.pairs or mapping.flow:
            return self._put_in(mapping, f"{key}: {flow(value)}")
        first = mapping.pairs[0][0]
        column = self._column(first.start)
        gap = "\n" if mapping is self.root else ""
        return self._add_line(mapping.end, gap + block({key: value}, column))

    def appended(self, keys: Sequence[str], item: Any) -> str:
        """The text with one more item at the end of the sequence that stands at ``keys``."""
        found = self.find(keys)
        assert found is not None
        sequence = found[1]
        if sequence.flow or not sequence.items:
            return self._put_in(sequence, flow(item))
        column = self.text.rindex("-", self._start_of_line(sequence.items[0].start), sequence.items[0].start)
        column -= self._start_of_line(column)
        return self._add_line(sequence.end, block_item(item, column))

    def _put_in(self, collection: Node, text: str) -> str:
        """Within brackets, before the closing one."""
        inner = self.text[: collection.end - 1].rstrip().rstrip(",")
        comma = ", " if collection.pairs or collection.items else ""
        return inner + comma + text + self.text[collection.end - 1 :]

    def _add_line(self, after: int, lines: str) -> str:
        end = self._end_of_line(after)
        return f"{self.text[:end]}\n{lines.rstrip()}{self.text[end:] or chr(10)}"

    def _spliced(self, start: int, end: int, new: str) -> str:
        gone = {node.anchor: node for node in self.root.walk() if node.anchor and start <= node.start < end}
        text = self.text[:start] + new + self.text[end:]
        while alias := _first_undefined(Document(text).root, set(gone)):
            text = text[: alias.start] + self._moved(gone.pop(alias.alias), text, alias) + text[alias.end :]
        return text

    def _moved(self, definition: Node, text: str, alias: Node) -> str:
        """The text of a definition, as it is to stand in the place of an alias."""
        own = self.text[definition.start : definition.end]
        if not (definition.flow or definition.alias) and _within_brackets(Document(text).root, alias):
            value = YAML(typ="safe", pure=True).load(_DEFINITION.sub("", own, count=1))
            return f"&{definition.anchor} {flow(value)}"
        return shifted(own, _indent(text, alias.start) - _indent(self.text, definition.start))

    def _begins_line(self, node: Node) -> bool:
        return not self.text[self._start_of_line(node.start) : node.start].strip(" -")

    def _column(self, index: int) -> int:
        return index - self._start_of_line(index)

    def _start_of_line(self, index: int) -> int:
        return self.text.rfind("\n", 0, index) + 1

    def _end_of_line(self, index: int) -> int:
        end = self.text.find("\n", index)
        return len(self.text) if end < 0 else end


def block(content: Content, column: int) -> str:
    """The keys and values, one under the other."""
    lines = []
    for key, value in content.items():
        if isinstance(value, Written):
            lines.append(value.at(column))
        elif isinstance(value, Mapping) and value and (_has_written(value) or not _is_short(key, value)):
            lines.append(" " * column + f"{flow(key)}:\n" + block(value, column + INDENT).rstrip("\n"))
        elif isinstance(value, list) and value and not _is_short(key, value):
            items = "".join(block_item(item, column + INDENT) for item in value)
            lines.append(" " * column + f"{flow(key)}:\n" + items.rstrip("\n"))
        else:
            lines.append(" " * column + f"{flow(key)}: {flow(value)}")
    return "\n".join(lines) + "\n"


def block_item(item: Any, column: int) -> str:
    """An item of a sequence, whose dash stands in a column."""
    if isinstance(item, Mapping) and item and not _is_short("-", item):
        lines = block(item, column + INDENT)
        return " " * column + "- " + lines[column + INDENT :]
    return " " * column + f"- {flow(item)}\n"


def flow(value: Any) -> str:
    """The value on one line, as readers of YAML 1.1 and of 1.2 understand it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str):
        return value if _is_plain(value) else _quoted(value)
    if isinstance(value, float) and not math.isfinite(value):
        return {"inf": ".inf", "-inf": "-.inf"}.get(str(value), ".nan")
    return json.dumps(value)


def shifted(text: str, by: int) -> str:
    """The text with every line but the first moved to the right, or to the left as far as there is room."""
    first, *others = text.split("\n")
    moved = [" " * by + line if by > 0 else line[min(-by, len(line) - len(line.lstrip())) :] for line in others]
    return "\n".join([first, *(line if line.strip() else "" for line in moved)])


def _is_plain(text: str) -> bool:
    """Whether a text needs no quotes."""
    if not _PLAIN.fullmatch(text):
        return False
    try:
        readers = (yaml_1_2.load, yaml.safe_load)
        return all(read(f"[{text}]") == [text] and read(f"k: {text}") == {"k": text} for read in readers)
    except yaml.YAMLError:
        return False


def _quoted(text: str) -> str:
    if text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(letter: str) -> str:
    if letter.isascii():
        return json.dumps(letter)[1:-1].replace("\x7f", "\\x7f")
    return letter if letter.isprintable() else f"\\U{ord(letter):08x}"


def _has_written(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_written, value.values()))
    return isinstance(value, Written)


def _is_short(key: str, value: Any) -> bool:
    """Whether it is a collection without collections in it that fits on a line; `with` and `use` never share one."""
    inner = list(value.values()) if isinstance(value, Mapping) else value
    if key == "with" and inner:
        return False
    return not any(isinstance(item, Mapping | list) and item for item in inner) and len(flow(value)) <= LONGEST_FLOW


def _indent(text: str, index: int) -> int:
    line = text[text.rfind("\n", 0, index) + 1 : index]
    return len(line) - len(line.lstrip())


def _first_undefined(root: Node, gone: set[str]) -> Node | None:
    defined: set[str] = set()
    for node in root.walk():
        if node.alias in gone - defined:
            return node
        defined.add(node.anchor)
    return None


def _within_brackets(root: Node, inner: Node) -> bool:
    around = [node for node in root.walk() if node.start <= inner.start and inner.end <= node.end]
    return any(node.flow and (node.pairs or node.items) for node in around)


@dataclass
class _Events:
    """Events of a text, one taken after the other."""

    text: str
    events: Sequence[Any]
    position: int = 0

    def take(self) -> Any:
        self.position += 1
        return self.events[self.position - 1]

    def ends(self) -> bool:
        return isinstance(self.events[self.position], MappingEndEvent | SequenceEndEvent)


def _is_of_node(event: Event) -> bool:
    return isinstance(event, NodeEvent | MappingEndEvent | SequenceEndEvent)


def _end_of_scalar(text: str, start: int, end: int) -> int:
    """Without the empty lines and comments that the parser counts to a text after ``|`` or ``>``."""
    header, *lines = text[start:end].split("\n")
    if not re.search(r"[|>][-+\d]*[ \t]*(#.*)?$", header):
        return end
    first = next(filter(str.strip, lines), "")
    column = len(first) - len(first.lstrip())
    while lines and (not lines[-1].strip() or len(lines[-1]) - len(lines[-1].lstrip()) < column):
        lines.pop()
    return start + len("\n".join([header, *lines]))


def _node(events: _Events) -> Node:
    event = events.take()
    start, end = event.start_mark.index, event.end_mark.index
    if isinstance(event, AliasEvent):
        return Node(start, end, alias=event.anchor, flow=True)
    anchor = event.anchor or ""
    if isinstance(event, ScalarEvent):
        return Node(start, _end_of_scalar(events.text, start, end), anchor, flow=True, key=event.value)
    assert isinstance(event, MappingStartEvent | SequenceStartEvent)
    node = Node(start, end, anchor, flow=bool(event.flow_style))
    while not events.ends():
        if isinstance(event, MappingStartEvent):
            node.pairs.append((_node(events), _node(events)))
        else:
            node.items.append(_node(events))
    closing = events.take()
    children = [value for _, value in node.pairs] + node.items
    node.end = closing.end_mark.index if node.flow or not children else children[-1].end
    return node
