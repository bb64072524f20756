"""A unigram language model over byte-level pieces, trained with the ``tokenizers`` library."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from workbench import hookimpl
from workbench.artifacts.corpus import Corpus
from workbench.errors import ArtifactError
from workbench.kinds.tokenizer import TokenizerStage
from workbench.models.chat import ChatTokens, SpecialTokenWatch, write_tokenizer_config
from workbench.plugin import Plugin
from workbench.run import Run

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.pre_tokenizers import PreTokenizer

BYTES = 256
SPECIAL_TOKENS = 5
DECIMALS = 4
"""Of the saved scores, nats: far coarser than what the order of a sum changes, far finer than what changes a segmentation."""
ADDED_BYTE_STEP = 1e-4
"""The library adds each byte that training has dropped this much above the one before, in the order of a hash table."""

Pieces = Sequence[tuple[str, float]]
"""Pieces in the order of their ids, each with its natural log-probability."""


class UnigramConfig(ChatTokens):
    """How the vocabulary is trained, and the tokens that frame a conversation."""

    vocab_size: int = Field(4096, ge=BYTES + SPECIAL_TOKENS, le=1_000_000)
    """Entries wanted, special tokens and the 256 bytes among them; a small corpus gives fewer."""
    max_piece_length: int = Field(16, ge=1)
    """Bytes of the longest piece."""
    sub_iterations: int = Field(2, ge=1, le=100)
    """Rounds of expectation maximisation between two prunings."""
    shrinking_factor: float = Field(0.75, gt=0, lt=1)
    """Share of the pieces that a pruning keeps."""
    split_digits: bool = False
    """Give every digit a token of its own, which helps arithmetic and costs compression."""


class Unigram(TokenizerStage[UnigramConfig]):
    """Unigram language model tokenization (Kudo 2018, https://arxiv.org/abs/1804.10959) over bytes."""

    name = "unigram"
    Config = UnigramConfig

    def train(self, corpus: Corpus, out: Path, run: Run) -> None:
        """Choose the pieces that make the corpus likeliest; the result depends on neither threads nor hash seeds.

        Raises:
            ArtifactError: there is no text to learn from.
        """
        from tokenizers import Tokenizer, models, trainers
        from tokenizers.pre_tokenizers import ByteLevel

        learner = Tokenizer(models.Unigram())
        learner.pre_tokenizer = _pre_tokenizer(self.config)
        trainer = trainers.UnigramTrainer(
            vocab_size=self.config.vocab_size,
            special_tokens=_added_tokens(self.config),
            initial_alphabet=sorted(ByteLevel.alphabet()),
            max_piece_length=self.config.max_piece_length,
            n_sub_iterations=self.config.sub_iterations,
            shrinking_factor=self.config.shrinking_factor,
            show_progress=False,
        )
        watch = SpecialTokenWatch(self.config.special_tokens)
        texts = run.track(watch.pass_through(corpus.texts()), unit="documents", total=len(corpus), label="unigram")
        learner.train_from_iterator(texts, trainer)
        run.metric("texts_with_special_tokens", watch.texts)
        learnt = json.loads(learner.to_str())["model"]["vocab"]
        if any(score is None for _, score in learnt):  # the logarithm of nothing
            raise ArtifactError("the corpus has no text", str(corpus.path), "loosen the filters before it")
        pieces = _canonical([(piece, score) for piece, score in learnt if piece not in self.config.special_tokens])
        _assembled(self.config, pieces).save(str(out / "tokenizer.json"))
        write_tokenizer_config(out, self.config)


def _canonical(learnt: Pieces) -> Pieces:
    """The same pieces with scores and an order that do not depend on the hash table they were learnt with.

    The bytes that training had dropped are those within 256 steps of the lowest score; all of them get that score.
    """
    floor = min(score for _, score in learnt)
    ceiling = floor + BYTES * ADDED_BYTE_STEP
    levelled = [(piece, floor if len(piece) == 1 and score <= ceiling else score) for piece, score in learnt]
    rounded = [(piece, round(score, DECIMALS)) for piece, score in levelled]
    return sorted(rounded, key=lambda entry: (-entry[1], entry[0]))


def _assembled(config: UnigramConfig, pieces: Pieces) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models

    special = [(token, 0.0) for token in config.special_tokens]
    tokenizer = Tokenizer(models.Unigram([*special, *pieces], unk_id=None, byte_fallback=False))
    tokenizer.pre_tokenizer = _pre_tokenizer(config)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(_added_tokens(config))
    return tokenizer


def _added_tokens(config: UnigramConfig) -> list[AddedToken]:
    from tokenizers import AddedToken

    return [AddedToken(token, special=True, normalized=False) for token in config.special_tokens]


def _pre_tokenizer(config: UnigramConfig) -> PreTokenizer:
    """Words as in GPT-2, their bytes written as 256 printable characters."""
    from tokenizers import pre_tokenizers

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if not config.split_digits:
        return byte_level
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """The classes that this distribution offers."""
    return [Unigram]
