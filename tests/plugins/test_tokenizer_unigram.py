"""The unigram vocabulary: segmentation, round trip, determinism, and the directory that transformers loads."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_model import documents, write_corpus
from tokenizers import Tokenizer
from workbench_tokenizer_unigram import Unigram, UnigramConfig

from workbench.artifacts import model
from workbench.artifacts.corpus import Document
from workbench.errors import ArtifactError
from workbench.testing import make_run

CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "How old is the wheel?"},
    {"role": "assistant", "content": "Nobody knows."},
]
any_text = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60)
near_text = st.text(alphabet="thewilrn \nTMa.2é", max_size=60)
"""Made of what the corpus is made of, so that long pieces occur."""


def build(directory: Path, corpus: list[Document], **config: object) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    write_corpus(directory / "corpus", corpus)
    run = make_run(directory)
    stage = Unigram(UnigramConfig(**config))  # type: ignore[arg-type]
    stage.execute({"corpus": directory / "corpus"}, {"out": directory / "tokenizer"}, run)
    return directory / "tokenizer"


def build_default(directory: Path) -> Path:
    return build(directory, documents(60), vocab_size=320)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_default(tmp_path_factory.mktemp("unigram"))


@pytest.fixture(scope="module")
def tokenizer(directory: Path) -> Tokenizer:
    return Tokenizer.from_file(str(directory / "tokenizer.json"))


@pytest.fixture(scope="module")
def scores(directory: Path) -> dict[str, float]:
    saved = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    return dict(saved["model"]["vocab"])


def best_score(word: str, scores: dict[str, float]) -> float:
    """Log-probability of the likeliest segmentation of one pre-token: the Viterbi recursion, by itself."""

    @cache
    def upto(end: int) -> float:
        if end == 0:
            return 0.0
        starts = range(max(0, end - 16), end)
        return max((upto(start) + scores[word[start:end]] for start in starts if word[start:end] in scores), default=-math.inf)

    return upto(len(word))


def test_the_directory_is_a_valid_tokenizer(directory: Path, scores: dict[str, float]) -> None:
    model.validate_tokenizer(directory)
    learnt = [piece for piece in scores if not piece.startswith("<|")]
    assert len(learnt) > 256
    assert max(len(piece) for piece in learnt) <= 16
    assert sum(math.exp(scores[piece]) for piece in learnt) == pytest.approx(1, abs=0.01)


@given(any_text | near_text)
@settings(max_examples=200, deadline=None)
def test_every_text_round_trips(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert len(ids) <= len(text.encode("utf-8"))
    if text.isascii():
        assert len(ids) <= len(text)


@given(any_text | near_text)
@settings(max_examples=200, deadline=None)
def test_the_segmentation_is_the_likeliest_one(tokenizer: Tokenizer, scores: dict[str, float], text: str) -> None:
    words = [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
    found = sum(scores[token] for token in tokenizer.encode(text).tokens)
    assert found == pytest.approx(sum(best_score(word, scores) for word in words), abs=1e-9)


def test_the_corpus_gets_shorter(tokenizer: Tokenizer) -> None:
    texts = [document.text for document in documents(60)]
    assert sum(len(tokenizer.encode(text).ids) for text in texts) < 0.8 * sum(map(len, texts))


def test_what_many_words_share_becomes_a_piece(tmp_path: Path) -> None:
    made = build(tmp_path, [Document("a banana bananas bananaboat band bandana ban " * 50, "x", {"origin": "a"})])
    loaded = Tokenizer.from_file(str(made / "tokenizer.json"))
    assert loaded.encode(" banana").tokens == ["Ġbanana"]
    assert loaded.encode("žluť").tokens != []  # bytes that the corpus never shows


def test_a_tiny_corpus_gives_a_smaller_vocabulary(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", [Document("ab ab <|user|>", "x", {"origin": "a"})])
    run = make_run(tmp_path)
    Unigram(UnigramConfig()).execute({"corpus": tmp_path / "corpus"}, {"out": tmp_path / "out"}, run)
    assert 261 <= run.summary["vocabulary"] < 280
    assert run.summary["texts_with_special_tokens"] == 1


def test_a_corpus_without_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no text"):
        build(tmp_path, [Document("", "x", {"origin": "a"})])


def test_digits_can_stand_alone(tmp_path: Path) -> None:
    corpus = [Document("1234 12345 01234 " * 40, "x", {"origin": "a"})]
    for split in (False, True):
        made = build(tmp_path / str(split), corpus, split_digits=split)
        assert (len(Tokenizer.from_file(str(made / "tokenizer.json")).encode("1234").tokens) == 4) is split


def test_transformers_loads_it_with_its_template(directory: Path) -> None:
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
    assert (loaded.eos_token, loaded.pad_token) == ("<|end|>", "<|pad|>")
    assert loaded.convert_tokens_to_ids(["<|end|>", "<|assistant|>"]) == [0, 4]
    assert loaded("The wheel").input_ids == loaded("The wheel", add_special_tokens=False).input_ids
    prompt = loaded.apply_chat_template(CONVERSATION[:2], tokenize=False, add_generation_prompt=True)
    assert prompt == "<|system|>Be brief.<|end|><|user|>How old is the wheel?<|end|><|assistant|>"
    assert loaded.apply_chat_template(CONVERSATION, tokenize=False) == prompt + "Nobody knows.<|end|>"
    encoded = loaded.apply_chat_template(CONVERSATION, return_dict=True, return_assistant_tokens_mask=True)
    marked = [token for token, mark in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mark]
    assert loaded.decode(marked) == "Nobody knows.<|end|>"


@pytest.mark.parametrize("threads", ["1", "4"])
def test_threads_and_hash_seeds_change_no_byte(tmp_path: Path, directory: Path, threads: str) -> None:
    here = str(Path(__file__).parent)
    script = "from pathlib import Path; from test_tokenizer_unigram import build_default; build_default(Path('.'))"
    environment = {**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads, "TOKENIZERS_PARALLELISM": "true"}
    environment["PYTHONPATH"] = os.pathsep.join([here, *(path for path in sys.path if path)])
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "tokenizer" / name).read_bytes() == (directory / name).read_bytes()


def test_importing_the_plugin_imports_no_tokenizers() -> None:
    script = "import sys, workbench_tokenizer_unigram; print(sorted({'tokenizers', 'transformers', 'torch'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    shown = subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True).stdout
    assert json.loads(shown.replace("'", '"')) == []


def test_special_tokens_must_differ() -> None:
    with pytest.raises(ValidationError, match="the same"):
        UnigramConfig(user_token="<|end|>")
