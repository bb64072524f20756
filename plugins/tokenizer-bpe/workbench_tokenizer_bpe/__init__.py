"""Byte-level BPE with a chat template, trained with the ``tokenizers`` library."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from workbench import hookimpl
from workbench.artifacts.corpus import Corpus
from workbench.kinds.tokenizer import TokenizerStage
from workbench.plugin import Config, Plugin
from workbench.run import Run

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.pre_tokenizers import PreTokenizer

BYTES = 256
UNLIMITED = 10**30
"""What transformers writes for a tokenizer that knows no longest sequence; the model's config does."""


class BpeConfig(Config):
    """How the vocabulary is trained, and the tokens that frame a conversation."""

    vocab_size: int = Field(4096, ge=BYTES + 5, le=1_000_000)
    """Entries wanted, special tokens and the 256 bytes among them; a small corpus gives fewer."""
    min_frequency: int = Field(2, ge=1)
    """How often a pair must occur to become a token."""
    split_digits: bool = False
    """Give every digit a token of its own, which helps arithmetic and costs compression."""
    system_token: str = Field("<|system|>", min_length=1)
    """Begins a system turn."""
    user_token: str = Field("<|user|>", min_length=1)
    """Begins a user turn."""
    assistant_token: str = Field("<|assistant|>", min_length=1)
    """Begins an assistant turn."""
    end_token: str = Field("<|end|>", min_length=1)
    """Ends a turn and a document: the end-of-sequence token."""
    pad_token: str = Field("<|pad|>", min_length=1)
    """Fills batches; it never stands in a text."""

    @property
    def special_tokens(self) -> list[str]:
        """In the order of their ids, which start at 0."""
        return [self.end_token, self.pad_token, self.system_token, self.user_token, self.assistant_token]

    @model_validator(mode="after")
    def _require_different_tokens(self) -> BpeConfig:
        if len(set(self.special_tokens)) != len(self.special_tokens):
            raise ValueError("two special tokens are the same; give each of them a text of its own")
        return self


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
        _write_json(out / "tokenizer_config.json", _tokenizer_config(self.config))


class SpecialTokenWatch:
    """Counts the texts that hold a special token literally, where it would be read as structure."""

    def __init__(self, special_tokens: list[str]) -> None:
        self.texts = 0
        self._special_tokens = special_tokens

    def pass_through(self, texts: Iterator[str]) -> Iterator[str]:
        """Yield the texts unchanged."""
        for text in texts:
            self.texts += any(token in text for token in self._special_tokens)
            yield text


def chat_template(config: BpeConfig) -> str:
    """One line of Jinja per conversation; ``generation`` marks what the assistant says, its end token included.

    The prompt with ``add_generation_prompt`` is a prefix of the whole conversation, so that a loss on the answer is exact.
    """
    end = _quoted(config.end_token)
    return (
        "{% for message in messages %}"
        "{% if message['role'] == 'assistant' %}"
        f"{{{{ {_quoted(config.assistant_token)} }}}}"
        f"{{% generation %}}{{{{ message['content'] + {end} }}}}{{% endgeneration %}}"
        "{% elif message['role'] == 'user' %}"
        f"{{{{ {_quoted(config.user_token)} + message['content'] + {end} }}}}"
        "{% elif message['role'] == 'system' %}"
        f"{{{{ {_quoted(config.system_token)} + message['content'] + {end} }}}}"
        "{% else %}{{ raise_exception('the roles are system, user and assistant') }}"
        "{% endif %}{% endfor %}"
        f"{{% if add_generation_prompt %}}{{{{ {_quoted(config.assistant_token)} }}}}{{% endif %}}"
    )


def _quoted(token: str) -> str:
    return json.dumps(token, ensure_ascii=False)


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


def _tokenizer_config(config: BpeConfig) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": config.end_token,
        "pad_token": config.pad_token,
        "extra_special_tokens": [config.system_token, config.user_token, config.assistant_token],
        "model_max_length": UNLIMITED,
        "padding_side": "right",
        "clean_up_tokenization_spaces": False,
        "chat_template": chat_template(config),
    }


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """The classes that this distribution offers."""
    return [Bpe]
