"""What held-out text costs without a neural network, knowing the same training text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

LEVEL = 19
"""zstd's highest level that needs no extra memory."""
WINDOW_LOG = 27
"""128 MiB: matches reach back through the whole prefix."""


@dataclass(frozen=True)
class Unigram:
    """Token frequencies with add-one smoothing over the vocabulary."""

    counts: Counter[int]
    vocabulary: int

    @classmethod
    def fit(cls, documents: Iterable[Sequence[int]], vocabulary: int) -> Unigram:
        """Count the tokens of the documents."""
        counts: Counter[int] = Counter()
        for tokens in documents:
            counts.update(tokens)
        return cls(counts, vocabulary)

    def bits(self, tokens: Sequence[int]) -> float:
        """Minus the logarithm to base 2 of the tokens' probability."""
        total = math.log2(self.counts.total() + self.vocabulary)
        return math.fsum(total - math.log2(self.counts[token] + 1) for token in tokens)


def zstd_bits(texts: Sequence[str], prefix: str = "") -> list[int]:
    """Bits of each text, compressed on its own after ``prefix``, which costs nothing; frames carry no magic number or size."""
    import zstandard

    options: dict[str, Any] = {"window_log": WINDOW_LOG} if prefix else {}
    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL,
        format=zstandard.FORMAT_ZSTD1_MAGICLESS,
        write_content_size=False,
        write_checksum=False,
        write_dict_id=False,
        **options,
    )
    dictionary = None
    if prefix:
        dictionary = zstandard.ZstdCompressionDict(prefix.encode("utf-8"), dict_type=zstandard.DICT_TYPE_RAWCONTENT)
        dictionary.precompute_compress(compression_params=parameters)
    compressor = zstandard.ZstdCompressor(compression_params=parameters, dict_data=dictionary)
    return [8 * len(compressor.compress(text.encode("utf-8"))) for text in texts]
