"""Embeddings: one vector per text, from latent semantic analysis or from the hidden states of a model.

Importing this module imports numpy alone; each function imports the library that it needs.

Shapes: N texts, B windows in a batch, T tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.artifacts.words import words
from workbench.errors import ArtifactError, ParamsError
from workbench.models.pretrained import load_tokenizer

Vectors = npt.NDArray[np.float32]
FEATURES = 1 << 17
"""Words of the TF-IDF matrix; rarer ones are left out."""
BLOCK = 1_024
"""Texts that are tokenised and sorted by length together."""


def unit(vectors: npt.NDArray[Any], *, center: bool) -> Vectors:
    """Vectors (N, D) of length 1, less their mean where ``center`` says so; a zero vector stays zero.

    The hidden states of language models share a large common part, which makes any two of them look alike
    (Mu and Viswanath 2018, https://arxiv.org/abs/1702.01417).
    """
    there = np.any(vectors, axis=1, keepdims=True)
    if center and there.any():
        vectors = np.where(there, vectors - vectors[there[:, 0]].mean(axis=0, dtype=np.float64), 0)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.where(lengths, lengths, 1), np.float32)


def lsa(texts: Iterable[str], dimensions: int, seed: int) -> Vectors:
    """Latent semantic analysis (Deerwester et al. 1990): the truncated SVD of the TF-IDF matrix, (N, at most D).

    Words that occur in like company get like directions, so a synonym moves a text little and word order not at all.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        tokenizer=words, token_pattern=None, lowercase=False, sublinear_tf=True, max_features=FEATURES, dtype=np.float32
    )
    try:
        weights = vectorizer.fit_transform(texts)
    except ValueError as error:
        raise ArtifactError("no document has a word", "corpus", "loosen the filters, or use dedup `exact`") from error
    svd = TruncatedSVD(min(dimensions, *weights.shape), random_state=seed % (1 << 32))
    vectors: Vectors = svd.fit_transform(weights)
    return vectors


class Encoder:
    """A model directory whose hidden states are averaged over the tokens of a text.

    Texts longer than the window are read window by window, so that all their tokens count.

    Raises:
        ArtifactError: the directory holds no such model.
        ParamsError: the model has no such layer.
    """

    def __init__(self, directory: Path, layer: int, window: int, device: str) -> None:
        import torch
        from transformers import AutoModel
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # the stage shows its own
        try:
            self._tokenizer = load_tokenizer(directory)
            model = AutoModel.from_pretrained(
                str(directory), local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
            )
        except (OSError, ValueError) as error:
            fix = "give a Hugging Face model directory with its tokenizer and weights in safetensors"
            raise ArtifactError(f"no model can be loaded: {error}", str(directory), fix) from error
        if model.config.is_encoder_decoder:
            model = model.get_encoder()
        config = model.config.get_text_config()
        layers = config.num_hidden_layers
        if not -layers - 1 <= layer <= layers:
            raise ParamsError(
                f"the model has no layer {layer}", str(directory), f"use 0 (the embeddings) to {layers}, or -1, the last"
            )
        longest = getattr(config, "max_position_embeddings", None) or window
        self._model, self._layer, self._device = model.to(device).eval(), layer, device
        self._window = min(window, longest, self._tokenizer.model_max_length)
        self.dimensions: int = config.hidden_size

    def embed(self, texts: Iterable[str], number: int, batch_size: int) -> Vectors:
        """The mean hidden state of each of ``number`` texts, (N, D); zero for a text without a token."""
        sums = np.zeros((number, self.dimensions))
        counts = np.zeros((number, 1))
        for start, block in _blocks(texts):
            encoded = self._tokenizer(block, truncation=True, max_length=self._window, return_overflowing_tokens=True)
            windows = list(zip(encoded["overflow_to_sample_mapping"], encoded["input_ids"], strict=True))
            windows = sorted((window for window in windows if window[1]), key=lambda window: len(window[1]))
            for place in range(0, len(windows), batch_size):
                rows, ids = zip(*windows[place : place + batch_size], strict=True)
                np.add.at(sums, start + np.array(rows), self._sums(ids))
                np.add.at(counts, start + np.array(rows), np.array([[len(window)] for window in ids], np.float64))
        return (sums / np.maximum(counts, 1)).astype(np.float32)

    def _sums(self, windows: Sequence[Sequence[int]]) -> npt.NDArray[np.float64]:
        """The sum of the hidden states of each window's tokens, (B, D)."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        ids = pad_sequence([torch.tensor(window) for window in windows], batch_first=True).to(self._device)  # (B, T)
        lengths = torch.tensor([len(window) for window in windows], device=self._device)
        mask = torch.arange(ids.size(1), device=self._device) < lengths[:, None]
        with torch.inference_mode():
            output = self._model(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True)
        hidden = output.hidden_states[self._layer].double()  # (B, T, D)
        total: npt.NDArray[np.float64] = (hidden * mask[:, :, None]).sum(1).cpu().numpy()
        return total


def _blocks(texts: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Where each block begins, and its texts."""
    source, start = iter(texts), 0
    while block := list(islice(source, BLOCK)):
        yield start, block
        start += len(block)
