"""Byte-level BPE with a chat template, trained with the ``tokenizers`` library."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from workbench import hookimpl
from workbench.artifacts.corpus import Corpus
from workbench.kinds.tokenizer import TokenizerStage
from workbench.models.chat import ChatTokens, SpecialTokenWatch, write_tokenizer_config
from workbench.plugin import Plugin
from workbench.run import Run

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.pre_tokenizers import PreTokenizer

BYTES = 256


class BpeConfig(ChatTokens):
    """How the vocabulary is trained, and the tokens that frame a conversation."""

    vocab_size: int = Field(4096, ge=BYTES + 5, le=1_000_000)
    """Entries wanted, special tokens and the 256 bytes among them; a small corpus gives fewer."""
    min_frequency: int = Field(2, ge=1)
    """How often a pair must occur to become a token."""
    split_digits: bool = False
    """Give every digit a token of its own, which helps arithmetic and costs compression."""


class Bpe(TokenizerStage[BpeConfig]):
    """Byte-level byte-pair encoding (Sennrich et al. 2016, https://arxiv.org/abs/1508.07909)."""

    name = "bpe"
    Config = BpeConfig

    def train(self, corpus: Corpus, out: Path, run: Run) -> None:
        """Merge the most frequent pairs until the vocabulary is full; the result does not depend on threads."""
        from tokenizers import AddedToken, trainers
        from tokenizers.pre_tokenizers import ByteLevel

        tokenizer = _untrained(self.config)
        trainer = trainers.BpeTrainer(
            vocab_size=self.config.vocab_size,
            min_frequency=self.config.min_frequency,
            special_tokens=[AddedToken(token, special=True, normalized=False) for token in self.config.special_tokens],
            initial_alphabet=ByteLevel.alphabet(),
            show_progress=False,
        )
        watch = SpecialTokenWatch(self.config.special_tokens)
        texts = run.track(watch.pass_through(corpus.texts()), unit="documents", total=len(corpus), label="bpe")
        tokenizer.train_from_iterator(texts, trainer)
        run.metric("texts_with_special_tokens", watch.texts)
        tokenizer.save(str(out / "tokenizer.json"))
        write_tokenizer_config(out, self.config)


def _untrained(config: BpeConfig) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _pre_tokenizer(config)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _pre_tokenizer(config: BpeConfig) -> PreTokenizer:
    from tokenizers import pre_tokenizers

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if not config.split_digits:
        return byte_level
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """The classes that this distribution offers."""
    return [Bpe]
