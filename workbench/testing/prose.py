"""Sample documents: prose about a small harbour, composed in a fixed way of phrases written for the kit."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.artifacts.corpus import Document

WHO = (
    "the ferryman", "an old teacher", "our neighbour", "the baker's son", "a clerk from Malmö", "the keeper of the light",
    "my grandmother", "the new doctor", "a boy with a kite", "the choir", "somebody at the café", "the widow Ås",
)  # fmt: skip
DOES = (
    "counts", "paints", "remembers", "sells", "mends", "borrows", "praises", "looks for", "writes down", "carries home",
    "cannot find", "gives away",
)  # fmt: skip
WHAT = (
    "two crates of herring", "a torn net", "the green boat", "letters from the mainland", "a bell without a clapper",
    "nine pears", "the names of the winds", "every rope on the pier", "a map of the reef", "the stone with the sign 山",
    "last year's tides", "coffee at €3.40",
)  # fmt: skip
WHEN = (
    "before sunrise", "when the fog lifts", "in the week after Easter", "at low tide", "as long as the lamp burns",
    "on market days", "during the long rain", "once in nine years", "after the second bell", "while the pump runs",
    "between two storms", "in winter",
)  # fmt: skip
WHY = (
    "because nobody else does", "to please the council", "and says so", "without being asked", "for the price of bread",
    "as the custom is", "and then forgets it", "so that the school can open", "though it is forbidden", "with great care",
)  # fmt: skip
SOURCES = ("harbour", "school", "ridge")
REPEATED = 4
"""So many documents come a second time with a word changed, and as many unchanged but for white space."""


def texts(number: int, seed: int = 0) -> list[str]:
    """Different texts of five to ten sentences, a line each, with letters outside ASCII among them."""
    drawing = random.Random(seed)
    return ["\n".join(sentence(drawing) for _ in range(5 + place % 6)) for place in range(number)]


def sentence(drawing: random.Random) -> str:
    """One of some 170,000 sentences."""
    words = [drawing.choice(WHO), drawing.choice(DOES), drawing.choice(WHAT), drawing.choice(WHEN), drawing.choice(WHY)]
    text = " ".join(words)
    return f"{text[0].upper()}{text[1:]}."


def documents(number: int, seed: int = 0) -> list[Document]:
    """That many documents of three sources; the last ones repeat the first ones, some nearly and some exactly."""
    from workbench.artifacts.corpus import Document

    repeats = min(2 * REPEATED, number // 3)
    found = texts(number - repeats, seed)
    near = [f"{text} Amen." for text in found[: repeats // 2]]
    exact = [f"{text}\n" for text in found[repeats // 2 : repeats]]
    return [
        Document(text, SOURCES[place % len(SOURCES)], {"origin": f"volume {seed + 1}, page {place}"})
        for place, text in enumerate([*found, *near, *exact])
    ]
