"""n-gram models: known answers by hand, probabilities that sum to 1, and every evaluation of the pipeline on them."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import product
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import plugin_project
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import SENTENCES, build_tokenizer, documents, write_corpus
from transformers import AutoModelForCausalLM, AutoTokenizer
from workbench_eval_lm_eval import LmEval, LmEvalConfig
from workbench_eval_perplexity import Perplexity, PerplexityConfig
from workbench_eval_preference import PreferenceAccuracy, PreferenceConfig
from workbench_pretrain_ngram import Ngram, NgramStageConfig, modeling
from workbench_pretrain_ngram.counting import Table, Trie, count
from workbench_pretrain_ngram.lookup import Lookup
from workbench_pretrain_ngram.smoothing import Smoothed, estimate_discounts, smooth

from workbench.artifacts import benchmark, examples
from workbench.artifacts import model as model_directory
from workbench.artifacts.benchmark import Question
from workbench.artifacts.corpus import Document
from workbench.artifacts.examples import Message, Preference
from workbench.errors import ArtifactError
from workbench.kinds.training import read_training_log
from workbench.testing import make_run

METHODS = ("kneser-ney", "good-turing", "add-k")
SIZE = 5
tiny_corpora = st.lists(st.lists(st.integers(1, SIZE - 1), max_size=12), min_size=1, max_size=8)


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    """What loading a model does where the plugin is installed."""
    modeling.register()


def build(corpus: list[list[int]], order: int, method: Any, *, k: float = 0.5, cutoff: int = 2) -> tuple[Trie, Smoothed]:
    trie = count(corpus, order, SIZE, 0)
    discounts = estimate_discounts(trie, method, boundary=0, k=k, cutoff=cutoff)
    return trie, smooth(trie, method, discounts, 0)


def probabilities(made: tuple[Trie, Smoothed], *context: int) -> np.ndarray:
    """What follows the context, (V,)."""
    tokens = np.array([context])
    return np.exp(Lookup(*made).log_probabilities(tokens, np.ones(tokens.shape, bool), 1)[0, 0].astype(float))


@pytest.mark.parametrize("method", METHODS)
@given(corpus=tiny_corpora, order=st.integers(1, 4), cutoff=st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_probabilities_sum_to_one_in_every_context(method: str, corpus: list[list[int]], order: int, cutoff: int) -> None:
    trie, smoothed = build(corpus, order, method, cutoff=cutoff)
    contexts = np.array(list(product(range(SIZE), repeat=3)))
    found = np.exp(Lookup(trie, smoothed).log_probabilities(contexts, np.ones(contexts.shape, bool), 3).astype(float))
    assert found.min() > 0
    assert found.sum(axis=2) == pytest.approx(np.ones(found.shape[:2]), abs=1e-5)


def test_kneser_ney_by_hand() -> None:
    """Documents ab, ab, ac with discounts 1/2, 1, 3/2, as the counts of counts are too few to estimate them."""
    a, b, c, end = 1, 2, 3, 0
    made = build([[a, b], [a, b], [a, c]], 3, "kneser-ney")
    # Seen after one other token: a, b, c; after two: the end. Five in all; 5/2 of them are taken and divided by 5.
    unigram = {a: 0.5 / 5 + 0.5 / 5, b: 0.5 / 5 + 0.5 / 5, c: 0.5 / 5 + 0.5 / 5, end: 1 / 5 + 0.5 / 5, 4: 0.5 / 5}
    assert made[1].base == pytest.approx([unigram[token] for token in range(SIZE)])
    # After a: b and c, each seen after one token.
    bigram_b = 0.5 / 2 + 1 / 2 * unigram[b]
    assert probabilities(made, a)[b] == pytest.approx(bigram_b)
    assert probabilities(made, 4, a)[b] == pytest.approx(bigram_b)  # a context that was never seen
    # After the beginning and a: b twice, c once, of which 1 and 1/2 are taken.
    assert probabilities(made, end, a)[b] == pytest.approx(1 / 3 + 1.5 / 3 * bigram_b)
    # After the beginning, with nothing before it, a's own count stands: 3, of which 3/2 are taken.
    assert probabilities(made, end)[a] == pytest.approx(1.5 / 3 + 1.5 / 3 * unigram[a])


def test_discounts_by_hand() -> None:
    """Counts of counts 4, 2, 1, 1: Y is 1/2."""
    counts = np.array([1, 1, 1, 1, 2, 2, 3, 4])
    trie = Trie((Table(np.arange(8), counts),), 8)
    found = estimate_discounts(trie, "kneser-ney", boundary=0, k=1, cutoff=5)
    assert found.tolist() == [[1 - 2 * 0.5 * 2 / 4, 2 - 3 * 0.5 * 1 / 2, 3 - 4 * 0.5 * 1 / 1]]


def test_good_turing_by_hand() -> None:
    """Counts of counts 6, 2, 1 and three unseen words: unseen words together get what was seen once, 6 of 13."""
    counts = np.array([1] * 6 + [2] * 2 + [3] + [0] * 3)
    trie = Trie((Table(np.arange(12), counts),), 12)
    factors = estimate_discounts(trie, "good-turing", boundary=0, k=1, cutoff=2)
    assert factors[0] == pytest.approx([1 / 3, 1 / 2])
    base = smooth(trie, "good-turing", factors, 0).base
    assert base * 13 == pytest.approx([1 / 3] * 6 + [1] * 2 + [3] + [6 / 3] * 3)


@given(corpus=tiny_corpora)
@settings(max_examples=40, deadline=None)
def test_backoff_keeps_the_ratios_of_unseen_words(corpus: list[list[int]]) -> None:
    made = build(corpus, 2, "good-turing")
    for context in range(SIZE):
        seen = {int(word) for word, place in zip(made[0].words(2), made[0].contexts(2), strict=True) if place == context}
        unseen = [word for word in range(SIZE) if word not in seen]
        ratios = probabilities(made, context)[unseen] / made[1].base[unseen]
        assert ratios == pytest.approx([ratios[0]] * len(ratios) if unseen else [], rel=1e-4)


def test_add_k_by_hand() -> None:
    made = build([[1, 2], [1, 2], [1, 3]], 3, "add-k", k=0.5)
    assert probabilities(made, 0, 1)[[2, 3, 4]] == pytest.approx([2.5 / 5.5, 1.5 / 5.5, 0.5 / 5.5])
    assert probabilities(made, 0)[1] == pytest.approx(3.5 / 5.5)
    assert probabilities(made, 3, 1) == pytest.approx([1 / SIZE] * SIZE)  # it has no shorter context to ask


class Reference:
    """Interpolated modified Kneser-Ney, word by word with dictionaries, as the paper writes it."""

    def __init__(self, corpus: list[list[int]], order: int, discounts: np.ndarray) -> None:
        self.order, self.discounts = order, discounts
        raw: Counter[tuple[int, ...]] = Counter()
        for document in corpus:
            stream = (0, *document, 0)
            raw.update(stream[i : i + n] for n in range(1, order + 1) for i in range(n == 1, len(stream) - n + 1))
        before: defaultdict[tuple[int, ...], set[int]] = defaultdict(set)
        for gram in raw:
            if len(gram) > 1:
                before[gram[1:]].add(gram[0])
        self.counts = {
            gram: number if len(gram) == order or (len(gram) > 1 and gram[0] == 0) else len(before[gram])
            for gram, number in raw.items()
        }

    def probability(self, word: int, context: tuple[int, ...]) -> float:
        lower = self.probability(word, context[1:]) if context else 1 / SIZE
        row = {w: self.counts[*context, w] for w in range(SIZE) if (*context, w) in self.counts}
        if not sum(row.values()):
            return lower
        taken = {w: self.discounts[len(context)][min(number, 3) - 1] for w, number in row.items()}
        kept = row[word] - taken[word] if word in row else 0.0
        return float((kept + sum(taken.values()) * lower) / sum(row.values()))


@given(corpus=tiny_corpora, order=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_kneser_ney_equals_a_plain_implementation(corpus: list[list[int]], order: int) -> None:
    trie, smoothed = build(corpus, order, "kneser-ney")
    reference = Reference(corpus, order, estimate_discounts(trie, "kneser-ney", boundary=0, k=1, cutoff=1))
    for context in [(1,), (0, 1), (2, 1, 3), (0, 2, 2), (1, 1, 1)]:
        expected = [reference.probability(word, context[-(order - 1) :] if order > 1 else ()) for word in range(SIZE)]
        assert probabilities((trie, smoothed), *context) == pytest.approx(expected, rel=1e-5)


# The plugin: a directory that transformers loads.


def train(directory: Path, corpus: Path, tokenizer: Path, **config: Any) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    run = make_run(directory)
    inputs = {"corpus": corpus, "tokenizer": tokenizer}
    Ngram(NgramStageConfig(**config)).execute(inputs, {"out": directory / "model"}, run)
    model_directory.validate_model(directory / "model")
    return directory / "model"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of short texts with its tokenizer."""
    made = tmp_path_factory.mktemp("ngram")
    build_tokenizer(made)
    write_corpus(made / "corpus", documents(30))
    return made


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return train(folder / "kneser-ney", folder / "corpus", folder / "tokenizer", order=5)


@pytest.fixture(scope="module")
def loaded(model: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(model, local_files_only=True).eval()


def test_the_directory_holds_counts_and_no_code(model: Path) -> None:
    from safetensors.numpy import load_file

    assert {file.suffix for file in model.iterdir()} <= {".safetensors", ".json", ".jinja", ".csv"}
    assert "auto_map" not in json.loads((model / "config.json").read_text())
    tensors = load_file(model / "model.safetensors")
    assert {name for name, tensor in tensors.items() if tensor.dtype.kind == "f"} == {"discounts"}
    for name, tensor in tensors.items():
        if name.startswith("keys."):
            assert (np.diff(tensor) > 0).all()
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokens = sum(len(tokenizer(document.text).input_ids) + 1 for document in documents(30))
    assert tensors["counts.0"].sum() == tokens
    assert [row["step"] for row in read_training_log(model)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("method", METHODS)
def test_the_loaded_model_is_a_distribution(folder: Path, tmp_path: Path, method: str) -> None:
    made = train(tmp_path, folder / "corpus", folder / "tokenizer", smoothing=method, order=3)
    causal = AutoModelForCausalLM.from_pretrained(made, dtype=torch.float32)
    tokens = torch.randint(0, causal.config.vocab_size, (3, 20), generator=torch.Generator().manual_seed(0))
    logits = causal(tokens).logits
    assert logits.shape == (3, 20, causal.config.vocab_size)
    assert torch.isfinite(logits).all()
    assert not any(parameter.requires_grad for parameter in causal.parameters())
    assert logits.logsumexp(2).abs().max() < 1e-5
    assert torch.equal(causal(tokens, logits_to_keep=2).logits, logits[:, -2:])
    expected = -logits[:, :-1].gather(2, tokens[:, 1:, None]).mean()
    assert causal(tokens, labels=tokens).loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_corpus_without_documents_is_refused(folder: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", [])
    with pytest.raises(ArtifactError, match="no documents"):
        train(tmp_path, tmp_path / "corpus", folder / "tokenizer")


def test_training_again_gives_the_same_bytes(folder: Path, tmp_path: Path, model: Path) -> None:
    again = train(tmp_path, folder / "corpus", folder / "tokenizer", order=5)
    assert {file.name: file.read_bytes() for file in again.iterdir()} == {f.name: f.read_bytes() for f in model.iterdir()}


def test_it_writes_what_it_has_read(loaded: Any, model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    prompt = tokenizer("<|end|>He sells the", return_tensors="pt")
    written = loaded.generate(**prompt, max_new_tokens=200, do_sample=False)[0].tolist()
    text = tokenizer.decode(written)
    assert text.startswith("<|end|>He sells the flour in the town beyond the second bend.")
    drawn = loaded.generate(**prompt, max_new_tokens=300, do_sample=True, top_k=0, num_return_sequences=8)
    ends = [row[1:].tolist().count(tokenizer.eos_token_id) for row in drawn]
    assert sum(end > 0 for end in ends) >= 6  # documents end


def test_padding_changes_nothing(loaded: Any, model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    texts = ["The river", "Nobody at the mill could say how old"]
    batch = tokenizer(texts, return_tensors="pt", padding=True)
    together = loaded(**batch).logits[:, -1]
    for row, text in zip(together, texts, strict=True):
        assert torch.equal(row, loaded(**tokenizer(text, return_tensors="pt")).logits[0, -1])
    outputs = loaded.generate(**batch, max_new_tokens=8, do_sample=False)
    for row, text in zip(outputs, texts, strict=True):
        alone = loaded.generate(**tokenizer(text, return_tensors="pt"), max_new_tokens=8, do_sample=False)[0]
        assert row[-8:].tolist() == alone[-8:].tolist()


def test_importing_the_plugin_imports_nothing_heavy() -> None:
    script = "import sys, workbench_pretrain_ngram; print({'numpy', 'tokenizers', 'transformers', 'torch'} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    shown = subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True).stdout
    assert shown == "set()\n"


# Every evaluation of the pipeline.


def evaluate(stage: Any, model: Path, tmp_path: Path, **inputs: Path) -> dict[str, float]:
    absent = tmp_path / "absent"
    run = make_run(tmp_path)
    names = ("heldout", "train", "benchmark", "preferences")
    flows = {"model": model, **dict.fromkeys(names, absent), **inputs}
    stage.execute(flows, {"out": tmp_path / "out"}, run)
    return dict(run.summary)


def docstrings() -> list[Document]:
    """The docstrings of networkx: real text."""
    files = sorted(Path(nx.__file__).parent.rglob("*.py"))
    nodes = (node for file in files if "tests" not in file.parts for node in ast.walk(ast.parse(file.read_bytes())))
    kinds = (ast.FunctionDef, ast.ClassDef, ast.Module)
    texts = (ast.get_docstring(node) for node in nodes if isinstance(node, kinds))
    return [Document(text, "networkx", {"origin": "x"}) for text in dict.fromkeys(texts) if text and len(text) > 100]


def test_kneser_ney_and_good_turing_beat_add_k_on_real_text(tmp_path: Path) -> None:
    from workbench_tokenizer_bpe import Bpe, BpeConfig

    held = [document for document in docstrings() if hashlib.md5(document.text.encode()).digest()[0] % 10 == 0]
    training = [document for document in docstrings() if document not in held]
    write_corpus(tmp_path / "heldout", held)
    write_corpus(tmp_path / "train", training)
    run = make_run(tmp_path)
    tokenizer = tmp_path / "tokenizer"
    Bpe(BpeConfig(vocab_size=2048)).execute({"corpus": tmp_path / "train"}, {"out": tokenizer}, run)
    found = {}
    for method in METHODS:
        made = train(tmp_path / method, tmp_path / "train", tokenizer, smoothing=method)
        stage = Perplexity(PerplexityConfig(documents=60, baseline_documents=200, samples=2, sample_tokens=20))
        inputs = {"heldout": tmp_path / "heldout", "train": tmp_path / "train"}
        metrics = evaluate(stage, made, tmp_path / method, **inputs)
        found[method] = metrics["bits_per_byte"]
        assert found[method] < metrics["unigram_bits_per_byte"]
    assert found["kneser-ney"] < found["good-turing"] < found["add-k"] - 0.3


def test_the_harness_and_the_preferences_run_on_it(tmp_path: Path, model: Path) -> None:
    questions = [
        Question(f"What about part {i}?", tuple(SENTENCES[(i + step) % 6] for step in range(4)), i % 4, f"d{i}", f"g{i // 3}")
        for i in range(8)
    ]
    (tmp_path / "benchmark").mkdir()
    benchmark.write(tmp_path / "benchmark", questions, "tiny_choice")
    asked = evaluate(LmEval(LmEvalConfig()), model, tmp_path / "benchmark", benchmark=tmp_path / "benchmark")
    assert asked["questions"] == 8

    def turn(role: Any, content: str) -> tuple[Message, ...]:
        return (Message(role=role, content=content),)

    garbled = ["".join(sorted(sentence)) for sentence in SENTENCES]
    pairs = [
        Preference(turn("user", f"Tell {split} {i}."), turn("assistant", SENTENCES[i]), turn("assistant", garbled[i]), split)
        for split in ("train", "heldout")
        for i in range(6)
    ]
    examples.write(tmp_path / "preferences", pairs, Preference.schema)
    stage = PreferenceAccuracy(PreferenceConfig(scoring="normalized"))
    assert evaluate(stage, model, tmp_path, preferences=tmp_path / "preferences")["accuracy"] == 1


@pytest.mark.slow
def test_an_installed_plugin_is_found_by_its_model_type_alone(tmp_path: Path, checkout: Path, model: Path) -> None:
    site = tmp_path / "site"
    plugin_project.install_folder(site, checkout / "plugins/pretrain-ngram")
    script = (
        "import sys; from pathlib import Path; from workbench.models.scoring import load; print(load(Path(sys.argv[1]), 'cpu'))"
    )
    paths = {"whole": [str(site), str(checkout)], "absent": [str(checkout)]}
    shown = {
        name: subprocess.run(
            [sys.executable, "-c", script, str(model)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        for name, path in paths.items()
    }
    assert "NgramForCausalLM" in shown["whole"].stdout, shown["whole"].stderr
    assert "no model type 'ngram'" in shown["absent"].stderr
