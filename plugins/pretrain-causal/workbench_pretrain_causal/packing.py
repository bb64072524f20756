"""Documents as one stream of tokens, cut into training sequences."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch.utils.data import Dataset

from workbench.artifacts.corpus import Corpus
from workbench.errors import ArtifactError

TEXTS_PER_BATCH = 1_000


class Sequences(Dataset[dict[str, torch.Tensor]]):
    """Training sequences; item i has ``input_ids`` and ``labels``, both (context_length,), labels not shifted."""

    def __init__(self, tokens: np.ndarray, starts: np.ndarray, corpus: Corpus) -> None:
        self.tokens = tokens  # (sequences, context_length)
        self._starts, self._corpus = starts, corpus  # (documents,): where each begins in the stream, in tokens

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        ids = torch.from_numpy(self.tokens[index].astype(np.int64))
        return {"input_ids": ids, "labels": ids}

    def ids_at(self, position: int) -> list[str]:
        """Ids of the documents that a sequence has tokens of."""
        begin = position * self.tokens.shape[1]
        first = np.searchsorted(self._starts, begin, side="right") - 1
        end = np.searchsorted(self._starts, begin + self.tokens.shape[1], side="left")
        return list(islice((row["id"] for row in self._corpus.rows(["id"])), first, end))


def pack(corpus: Corpus, tokenizer: Path, separator: int, context_length: int) -> Sequences:
    """Join all documents, a separator before each, and cut the stream into whole sequences.

    Raises:
        ArtifactError: the corpus is shorter than one sequence.
    """
    fast = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    fast.encode_special_tokens = True  # no document ends where it says so: the letters of a special token are letters
    pieces = [np.asarray([separator, *ids], dtype=np.uint32) for ids in _encoded(corpus, fast)]
    stream = np.concatenate(pieces)
    count = len(stream) // context_length
    if count == 0:
        raise ArtifactError(
            f"the corpus has {len(stream)} tokens, fewer than one sequence of {context_length}",
            str(corpus.path),
            "lower pretrain.with.context_length, or train on more text",
        )
    starts = np.cumsum([0, *(len(piece) for piece in pieces[:-1])])
    return Sequences(stream[: count * context_length].reshape(count, context_length), starts, corpus)


def _encoded(corpus: Corpus, tokenizer: Tokenizer) -> Iterator[list[int]]:
    texts = corpus.texts()
    while batch := list(islice(texts, TEXTS_PER_BATCH)):
        yield from (encoding.ids for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False))
