"""A random llama of a few thousand parameters with a `bpe` tokenizer, and texts written for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.artifacts import corpus, examples
from workbench.artifacts.corpus import Document
from workbench.artifacts.examples import Conversation, Message
from workbench.testing import make_run

SENTENCES = (
    "The river bends twice before it reaches the mill.",
    "Nobody at the mill could say how old the wheel was.",
    "A wheel turns slowly when the river is low.",
    "In spring the water is high and the wheel turns fast.",
    "The miller counts the sacks twice before he sells them.",
    "He sells the flour in the town beyond the second bend.",
)
COLOURS = ("red", "green", "blue", "black", "white", "grey")
_built: dict[str, Path] = {}


def texts(number: int) -> list[str]:
    """Different texts of two to four sentences."""
    return [
        "\n".join(SENTENCES[(first + step) % len(SENTENCES)] for step in range(2 + first % 3)) + f"\nPage {first}."
        for first in range(number)
    ]


def write_corpus(directory: Path, documents: list[Document], meta: dict[str, object] | None = None) -> None:
    """Write documents whose ``meta`` has the given pyarrow types."""
    rows = ({"id": d.id, "text": d.text, "source": d.source, "meta": dict(d.meta)} for d in documents)
    corpus.write(directory, rows, corpus.schema(meta or ["origin"]))  # type: ignore[arg-type]


def documents(number: int, start: int = 0) -> list[Document]:
    """Documents of two sources."""
    return [
        Document(text, f"book-{index % 2}", {"origin": f"page {index}"})
        for index, text in list(enumerate(texts(start + number)))[start:]
    ]


def build_tokenizer(directory: Path, vocab_size: int = 320) -> Path:
    """Train the `bpe` tokenizer on the texts."""
    from workbench_tokenizer_bpe import Bpe, BpeConfig

    directory.mkdir(parents=True, exist_ok=True)
    write_corpus(directory / "corpus", documents(30))
    run = make_run(directory)
    Bpe(BpeConfig(vocab_size=vocab_size)).execute({"corpus": directory / "corpus"}, {"out": directory / "tokenizer"}, run)
    return directory / "tokenizer"


def build_model(directory: Path, model_type: str = "llama", window: int = 32, seed: int = 0) -> Path:
    """Save a random model with its tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(build_tokenizer(directory)))
    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        model_type,
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=window,
        initializer_range=0.2,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(str(directory / "model"))
    tokenizer.save_pretrained(str(directory / "model"))
    return directory / "model"


@pytest.fixture(scope="session")
def model_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama with a window of 32 tokens, built once for all modules that import this fixture."""
    if "llama" not in _built:
        _built["llama"] = build_model(tmp_path_factory.mktemp("tiny-llama"))
    return _built["llama"]


def turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def write_conversations(directory: Path) -> None:
    """A question and its answer for each colour."""
    rows = [Conversation((turn("user", f"Is {c} a colour?"), turn("assistant", f"Yes, {c} is one."))) for c in COLOURS]
    examples.write(directory, rows, Conversation.schema)
