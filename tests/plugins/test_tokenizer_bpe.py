"""The vocabulary, the directory that transformers loads, and the chat template."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_model import build_tokenizer, write_corpus
from workbench_tokenizer_bpe import Bpe, BpeConfig

from workbench.artifacts import model
from workbench.artifacts.corpus import Document
from workbench.testing import make_run

CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "How old is the wheel?"},
    {"role": "assistant", "content": "Nobody knows."},
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tokenizer(tmp_path_factory.mktemp("bpe"))


@pytest.fixture(scope="module")
def tokenizer(directory: Path) -> object:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(directory), local_files_only=True)


def test_the_directory_is_a_valid_tokenizer(directory: Path) -> None:
    model.validate_tokenizer(directory)


def test_transformers_loads_it_with_its_special_tokens(tokenizer: object) -> None:
    assert tokenizer.eos_token == "<|end|>"  # type: ignore[attr-defined]
    assert tokenizer.pad_token == "<|pad|>"  # type: ignore[attr-defined]
    assert tokenizer.convert_tokens_to_ids("<|assistant|>") == 4  # type: ignore[attr-defined]
    assert tokenizer("The wheel").input_ids == tokenizer("The wheel", add_special_tokens=False).input_ids  # type: ignore[operator]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_text_round_trips(directory: Path, text: str) -> None:
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_file(str(directory / "tokenizer.json"))
    assert loaded.decode(loaded.encode(text).ids, skip_special_tokens=False) == text


def test_the_prompt_is_a_prefix_of_the_conversation(tokenizer: object) -> None:
    prompt = tokenizer.apply_chat_template(CONVERSATION[:2], tokenize=False, add_generation_prompt=True)  # type: ignore[attr-defined]
    whole = tokenizer.apply_chat_template(CONVERSATION, tokenize=False)  # type: ignore[attr-defined]
    assert prompt == "<|system|>Be brief.<|end|><|user|>How old is the wheel?<|end|><|assistant|>"
    assert whole == prompt + "Nobody knows.<|end|>"


def test_the_generation_mark_covers_the_answer_and_its_end(tokenizer: object) -> None:
    encoded = tokenizer.apply_chat_template(CONVERSATION, return_dict=True, return_assistant_tokens_mask=True)  # type: ignore[attr-defined]
    marked = [token for token, mark in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mark]
    assert tokenizer.decode(marked) == "Nobody knows.<|end|>"  # type: ignore[attr-defined]


def test_an_unknown_role_is_refused(tokenizer: object) -> None:
    with pytest.raises(Exception, match="system, user, assistant and tool"):
        tokenizer.apply_chat_template([{"role": "narrator", "content": "x"}], tokenize=False)  # type: ignore[attr-defined]


def test_a_tiny_corpus_gives_a_smaller_vocabulary(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", [Document("ab ab <|user|>", "x", {"origin": "a"})])
    run = make_run(tmp_path)
    Bpe(BpeConfig(vocab_size=4096)).execute({"corpus": tmp_path / "corpus"}, {"out": tmp_path / "out"}, run)
    assert 261 <= run.summary["vocabulary"] < 280
    assert run.summary["texts_with_special_tokens"] == 1


def test_digits_can_stand_alone(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    write_corpus(tmp_path / "corpus", [Document("1234 1234 1234 1234", "x", {"origin": "a"})])
    for split in (False, True):
        run = make_run(tmp_path)
        out = tmp_path / str(split)
        Bpe(BpeConfig(split_digits=split)).execute({"corpus": tmp_path / "corpus"}, {"out": out}, run)
        assert (len(Tokenizer.from_file(str(out / "tokenizer.json")).encode("1234").tokens) == 4) is split


@pytest.mark.parametrize("threads", ["1", "4"])
def test_threads_and_hash_seeds_change_no_byte(tmp_path: Path, directory: Path, threads: str) -> None:
    script = "from pathlib import Path; from tiny_model import build_tokenizer; build_tokenizer(Path('.'))"
    environment = {**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads, "TOKENIZERS_PARALLELISM": "true"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "tokenizer" / name).read_bytes() == (directory / name).read_bytes()


def test_importing_the_plugin_imports_no_tokenizers() -> None:
    script = "import sys, workbench_tokenizer_bpe; print(sorted({'tokenizers', 'transformers', 'torch'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    shown = subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True).stdout
    assert json.loads(shown.replace("'", '"')) == []


def test_special_tokens_must_differ() -> None:
    with pytest.raises(ValidationError, match="the same"):
        BpeConfig(user_token="<|end|>")
