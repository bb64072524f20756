"""What a docstring answers: what an object does, an example of it, and its parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ROLE = re.compile(r":[\w:+-]+:`[~!]?([^`<]+?)(?:\s*<[^`]*>)?`")
_SENTENCE_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\bcf)(?<!\bvs)(?<!\betc)[.!?](?=\s+[A-Z`\"'(\[:]|\s*$)")
_UNDERLINE = re.compile(r"^[-=~]{3,}$")
_NUMPY_ITEM = re.compile(r"^(\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?$")
_GOOGLE_ITEM = re.compile(r"^(\*{0,2}\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_SPHINX_ITEM = re.compile(r"^:param\s+(?:[^:]*\s)?(\*{0,2}\w+):\s*(.*)$")
_TYPE_ONLY = re.compile(r"^[`(].*[`)],?( \*optional\*.*)?:?$")
_IMPORT_LINE = re.compile(r"^\s*>>> (?:from|import) .*$", re.MULTILINE)
_WORD = re.compile(r"\w+")
_ITEM = re.compile(r"^[`*]*\w+[`*]* \(.*\) ?:")
_SECTIONS = {"returns", "see", "alias", "deprecated", "notes", "note", "todo"}
_MARKUP = (".. ", "::", ">>>", "---", "{")
MIN_PROSE = 0.7
"""Share of letters and spaces from which a sentence counts as prose rather than as a formula."""
_PARAMETER_HEADINGS = {"parameters", "args", "arguments", "params"}


@dataclass(frozen=True)
class Bounds:
    """Shortest and longest answer, in characters."""

    shortest: int
    longest: int

    def hold(self, text: str) -> bool:
        """Whether a text is neither too short nor too long."""
        return self.shortest <= len(text) <= self.longest


def summary(doc: str, bounds: Bounds) -> str | None:
    """The first sentence, or None where the docstring does not open with a well-formed one."""
    paragraph = " ".join(doc.partition("\n\n")[0].split())
    if any(mark in paragraph for mark in _MARKUP):
        return None
    sentence = _first_sentence(_ROLE.sub(r"`\1`", paragraph))
    if not _is_prose(sentence):
        return None
    text = sentence if sentence[-1] in ".!?" else f"{sentence}."
    return text if bounds.hold(text) and text.isprintable() else None


def _is_prose(sentence: str) -> bool:
    if " " not in sentence or sentence[-1] in ":,;" or not (sentence[0].isalnum() or sentence[0] == "`") or _ITEM.match(sentence):
        return False
    opening = sentence.partition(" ")[0].lower()
    if opening.rstrip(":") in _PARAMETER_HEADINGS | _SECTIONS and (opening.endswith(":") or sentence[-1] != "."):
        return False
    return sum(letter.isalpha() or letter == " " for letter in sentence) >= MIN_PROSE * len(sentence)


def _first_sentence(paragraph: str) -> str:
    end = _SENTENCE_END.search(paragraph)
    return (paragraph[: end.end()] if end else paragraph).strip()


def example(doc: str, name: str, bounds: Bounds) -> str | None:
    """The first block of an interactive session that uses ``name`` and does more than import it, or None."""
    blocks = (block for block in re.split(r"\n\s*\n", doc) if block.lstrip().startswith(">>>"))
    chosen = next((block for block in blocks if name in _WORD.findall(_IMPORT_LINE.sub("", block))), None)
    if chosen is None:
        return None
    lines = [line.rstrip() for line in chosen.split("\n")]
    indent = min(len(line) - len(line.lstrip()) for line in lines if line)
    text = "\n".join(line[indent:] for line in lines).partition("\n```")[0].strip()
    return text if bounds.hold(text) else None


def parameters(doc: str, bounds: Bounds) -> str | None:
    """A list of the documented parameters, one line each: name, and the first sentence about it."""
    found = _sphinx_items(doc) or _section_items(doc)
    lines = [f"- `{name}`: {text}" for name, text in found if text]
    if not lines or len(lines) < len(found):
        return None
    answer = "\n".join(lines)
    return answer if bounds.hold(answer) else None


def _sphinx_items(doc: str) -> list[tuple[str, str]]:
    if ":param" not in doc:
        return []
    matches = [_SPHINX_ITEM.match(line.strip()) for line in doc.split("\n")]
    return [(match[1], _one_line([match[2]])) for match in matches if match]


def _section_items(doc: str) -> list[tuple[str, str]]:
    """Items of numpy's ``Parameters`` or Google's ``Args:`` section."""
    lines = doc.split("\n")
    for number, line in enumerate(lines):
        if line.strip().rstrip(":").lower() not in _PARAMETER_HEADINGS or line.startswith(" "):
            continue
        following = lines[number + 1 :]
        if following and _UNDERLINE.match(following[0]):
            return _numpy_items(_until_section(following[1:]))
        if line.rstrip().endswith(":"):
            return _google_items(following)
    return []


def _until_section(lines: list[str]) -> list[str]:
    end = next((i for i, line in enumerate(lines) if i and _UNDERLINE.match(line)), len(lines) + 1)
    return lines[: end - 1]


def _numpy_items(lines: list[str]) -> list[tuple[str, str]]:
    items: list[tuple[str, list[str]]] = []
    for line in lines:
        if line and not line.startswith(" "):
            match = _NUMPY_ITEM.match(line)
            if match is None:
                return []
            items.append((match[1], []))
        elif items:
            items[-1][1].append(line.strip())
    return [(name, _one_line(text)) for name, text in items]


def _google_items(lines: list[str]) -> list[tuple[str, str]]:
    body: list[str] = []
    for line in lines:
        if line and not line.startswith(" "):
            break
        body.append(line)
    indent = min((len(line) - len(line.lstrip()) for line in body if line), default=0)
    items: list[tuple[str, list[str]]] = []
    for line in body:
        text = line[indent:]
        if text and not text.startswith(" "):
            match = _GOOGLE_ITEM.match(text)
            if match is None:
                return []
            items.append((match[1], [match[2]]))
        elif items:
            items[-1][1].append(text.strip())
    return [(name, _one_line(text)) for name, text in items]


def _one_line(lines: list[str]) -> str:
    """The first sentence of an item's first paragraph."""
    text: list[str] = []
    for line in lines:
        if not line and text:
            break
        if line and not (not text and _TYPE_ONLY.match(line)):
            text.append(line)
    return _first_sentence(_ROLE.sub(r"`\1`", " ".join(text)))
