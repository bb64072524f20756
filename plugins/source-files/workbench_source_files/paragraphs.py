"""Cuts long text into documents between its paragraphs, as a stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Numbered = tuple[int, str]
"""The line on which a text begins, and the text."""


def paragraphs(pieces: Iterable[str], limit: int) -> Iterator[Numbered]:
    """Paragraphs, which blank lines part, of at most ``limit`` characters each; a longer one is cut between lines or words.

    ``pieces`` are lines with their ends, or parts of very long lines.
    """
    line, start, text = 1, 1, ""
    for piece in pieces:
        if piece.strip() or (text and not text.endswith("\n")):
            start = start if text else line
            text += piece
        elif text:
            yield start, text.rstrip()
            text = ""
        line += piece.endswith("\n")
        while len(text.rstrip()) > limit:
            cut = _cut(text, limit)
            if text[:cut].strip():
                yield start, text[:cut].rstrip()
            rest = text[cut:].lstrip(" \n")
            start += text.count("\n", 0, len(text) - len(rest))
            text = rest
    if text.strip():
        yield start, text.rstrip()


def _cut(text: str, limit: int) -> int:
    """Where to cut: at the last end of line or blank in the second half of the limit, or at the limit."""
    for mark in ("\n", " "):
        place = text.rfind(mark, limit // 2, limit)
        if place > 0:
            return place + 1
    return limit


def packed(numbered: Iterable[Numbered], limit: int) -> Iterator[Numbered]:
    """Neighbouring paragraphs joined as long as they are at most ``limit`` characters together."""
    start, text = 0, ""
    for line, paragraph in numbered:
        if text and len(text) + 2 + len(paragraph) > limit:
            yield start, text
            text = ""
        start = start if text else line
        text = f"{text}\n\n{paragraph}" if text else paragraph
    if text:
        yield start, text
