"""What is held out, and what in the training rows is too near to it."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

INNER_SHARE = 0.5
_WORD = re.compile(r"\w+")


def unit(*parts: object) -> float:
    """A number in [0, 1) that looks random and depends on the parts alone."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def is_heldout(name: str, module: str, share: float, salt: str) -> bool:
    """Whether an object is held out: half of the objects of some modules, so that ``share`` of all are.

    Held-out objects thus have held-out siblings, which serve as wrong answers, and siblings in training, from which
    a model learns the module.
    """
    inner = max(share, INNER_SHARE)
    return unit(salt, "module", module) < share / inner and unit(salt, "object", name) < inner


def words(text: str) -> frozenset[str]:
    """The different words of a text in lower case."""
    return frozenset(_WORD.findall(text.lower()))


def similarity(a: frozenset[str], b: frozenset[str]) -> float:
    """Jaccard similarity of two word sets; 1 for two empty ones."""
    return len(a & b) / len(a | b) if a or b else 1.0


class NearIndex:
    """Finds out whether a text is nearly one of many others, by prefix filtering (Chaudhuri et al. 2006)."""

    def __init__(self, texts: Iterable[str], threshold: float) -> None:
        self._threshold = threshold
        self._sets = sorted({words(text) for text in texts}, key=sorted)
        self._frequency = Counter(word for item in self._sets for word in item)
        self._by_word: dict[str, list[int]] = defaultdict(list)
        for number, item in enumerate(self._sets):
            for word in self._prefix(item):
                self._by_word[word].append(number)

    def has_near(self, text: str) -> bool:
        """Whether the index holds a text whose similarity to this one reaches the threshold."""
        own = words(text)
        candidates = {number for word in self._prefix(own) for number in self._by_word.get(word, ())}
        return any(similarity(own, self._sets[number]) >= self._threshold for number in candidates)

    def _prefix(self, item: frozenset[str]) -> Iterator[str]:
        """The rarest words: two sets that are similar enough share at least one of them."""
        length = len(item) - math.ceil(self._threshold * len(item) - 1e-9) + 1
        yield from sorted(item, key=lambda word: (self._frequency[word], word))[:length]
