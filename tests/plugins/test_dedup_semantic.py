"""dedup `semantic` finds what it must by known answers: planted paraphrases, and neighbours against brute force."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_model import SENTENCES, build_model
from workbench_dedup_minhash import MinHash, MinHashConfig
from workbench_dedup_semantic import Semantic, SemanticConfig
from workbench_dedup_semantic.embedding import Encoder, unit
from workbench_dedup_semantic.neighbours import Graph

from workbench.artifacts import corpus
from workbench.artifacts.corpus import Corpus
from workbench.errors import ArtifactError, ParamsError
from workbench.kinds.dedup import Clusters
from workbench.testing import make_run

TOPICS, WORDS, LENGTH = 12, 60, 60
DOCUMENTS, PLANTED = 600, 40


def write(folder: Path, texts: list[str]) -> Corpus:
    rows = [{"id": str(place), "text": text, "source": "s", "meta": {"origin": str(place)}} for place, text in enumerate(texts)]
    corpus.write(folder / "corpus", rows, corpus.schema(("origin",)))
    return Corpus(folder / "corpus")


def find(folder: Path, texts: list[str], **settings: Any) -> Clusters:
    run = make_run(folder)
    return Semantic(SemanticConfig(**settings)).find_duplicates(write(folder, texts), run)


def spoken(word: int, topic: int, chance: random.Random) -> str:
    """A word of a topic under one of its two names, which are used alike."""
    return f"topic{topic}word{word}{chance.choice(['', 'alias'])}"


def paraphrased(text: str, chance: random.Random) -> str:
    """Each word under either of its names, in another order."""
    words = [word.removesuffix("alias") + chance.choice(["", "alias"]) for word in text.split()]
    chance.shuffle(words)
    return " ".join(words)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Documents of some topics; the first of them once more at the end, in other words and another order."""
    chance = random.Random(3)
    made = []
    for place in range(DOCUMENTS):
        topic, known = place % TOPICS, chance.sample(range(WORDS), 20)
        made.append(" ".join(spoken(chance.choice(known), topic, chance) for _ in range(LENGTH)))
    return made + [paraphrased(text, chance) for text in made[:PLANTED]]


def test_paraphrases_that_minhash_misses_are_found_and_nothing_else(texts: list[str], tmp_path: Path) -> None:
    run = make_run(tmp_path)
    missed = MinHash(MinHashConfig()).find_duplicates(write(tmp_path, texts), run)
    assert len(set(missed.labels.tolist())) == len(texts)
    found = find(tmp_path, texts, dimensions=128).firsts()
    assert found.tolist() == [*range(DOCUMENTS), *range(PLANTED)]


def test_a_threshold_of_one_joins_other_orders_of_the_same_words_alone(texts: list[str], tmp_path: Path) -> None:
    chance = random.Random(0)
    words = texts[0].split()
    other = [" ".join(chance.sample(words, len(words))) for _ in range(3)]
    found = find(tmp_path, [*texts[:200], *other, texts[7]], threshold=1.0).firsts()
    assert found.tolist() == [*range(200), 0, 0, 0, 7]


def search(vectors: Any, number: int) -> Any:
    blocks = list(Graph(vectors, 128).search(np.arange(len(vectors)), number))
    rows, found = (np.concatenate(part) for part in zip(*blocks, strict=True))
    assert rows.tolist() == list(range(len(vectors)))
    return found


@pytest.mark.parametrize("dimensions", [16, 128])
def test_the_neighbours_are_those_of_brute_force(dimensions: int) -> None:
    vectors = unit(np.random.default_rng(1).standard_normal((3_000, dimensions)), center=False)
    true = np.argsort(-(vectors @ vectors.T), axis=1)[:, :17].tolist()
    recall = np.mean([len(set(a) & set(b)) / 17 for a, b in zip(search(vectors, 17).tolist(), true, strict=True)])
    assert recall >= 0.95
    assert np.array_equal(search(vectors[:1_000], 17), search(vectors[:1_000], 17))


@pytest.mark.parametrize(("rows", "number"), [(1, 1), (2, 2), (513, 16), (300, 300)])
def test_every_row_has_neighbours_whatever_the_number_of_rows(rows: int, number: int) -> None:
    vectors = unit(np.random.default_rng(1).standard_normal((rows, 8)), center=False)
    found = search(vectors, number)
    assert found.shape == (rows, number)
    assert found[:, 0].tolist() == list(range(rows))
    assert ((found >= 0) & (found < rows)).all()
    assert all(len(set(row)) == number for row in found.tolist())


def test_a_group_larger_than_the_neighbours_is_one_cluster(texts: list[str], tmp_path: Path) -> None:
    """Two neighbours of each text are other orders of the same words, so the search sees pieces of four at first."""
    chance = random.Random(0)
    wordings = [paraphrased(texts[0], chance).split() for _ in range(8)]
    group = [" ".join(chance.sample(words, len(words))) for words in wordings for _ in range(4)]
    found = find(tmp_path, [*texts[:DOCUMENTS], *group], dimensions=128, neighbours=2)
    assert set(found.firsts()[DOCUMENTS:].tolist()) == {0}
    assert len(set(found.labels.tolist())) == DOCUMENTS


def test_texts_without_words_are_joined_only_where_they_are_equal(tmp_path: Path) -> None:
    found = find(tmp_path, ["!!!", "???", "!!!", "a river and a mill", "?", "nothing else"], dimensions=2).firsts()
    assert found.tolist() == [0, 1, 0, 3, 4, 5]
    with pytest.raises(ArtifactError, match="no document has a word"):
        find(tmp_path / "..", ["!!!", "???"])


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("causal"), window=32)


@pytest.fixture(scope="module")
def encoder(causal: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT that reads in both directions, with the tokenizer of the causal model."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("encoder")
    tokenizer = AutoTokenizer.from_pretrained(causal)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=48,
        initializer_range=0.2,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def model(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


def stories(number: int) -> list[str]:
    """Texts of some to many words of the texts that the tokenizer was trained on."""
    chance = random.Random(2)
    words = " ".join(SENTENCES).split()
    return [" ".join(chance.choices(words, k=chance.randrange(5, 120))) for _ in range(number)]


@pytest.mark.parametrize(
    ("model", "window", "layer"), [("causal", 32, -1), ("causal", 16, 1), ("encoder", 48, -1)], indirect=["model"]
)
def test_an_embedding_is_the_mean_of_the_states_of_all_tokens(model: Path, window: int, layer: int) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    texts = ["", *stories(40)]
    found = Encoder(model, layer, 256 if window != 16 else window, "cpu").embed(texts, len(texts), 7)
    tokenizer, loaded = AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model).eval()
    assert not found[0].any()
    for row, text in list(enumerate(texts))[1:]:
        ids = tokenizer(text)["input_ids"]
        pieces = [ids[start : start + window] for start in range(0, len(ids), window)]
        with torch.inference_mode():
            states = [loaded(torch.tensor([piece]), output_hidden_states=True).hidden_states[layer][0] for piece in pieces]
        assert found[row] == pytest.approx(torch.cat(states).mean(0).numpy(), abs=1e-5)
    assert max(len(ids) for ids in tokenizer(texts)["input_ids"]) > window


@pytest.mark.parametrize("model", ["causal", "encoder"], indirect=True)
def test_a_models_embeddings_find_planted_copies(model: Path, tmp_path: Path) -> None:
    """The models are random, so the input embeddings tell most of a text."""
    chance = random.Random(5)
    vocabulary = sorted(set(" ".join(SENTENCES).split()))
    originals = [chance.choices(chance.sample(vocabulary, 12), k=60) for _ in range(120)]
    copies = [spoiled(words, vocabulary, chance) for words in originals[:20]]
    texts = [" ".join(words) for words in originals + copies]
    found = find(tmp_path, texts, model=str(model), layer=0).firsts()
    assert found.tolist() == [*range(120), *range(20)]


def spoiled(words: list[str], vocabulary: list[str], chance: random.Random) -> list[str]:
    """Six pairs of neighbours swapped and two words replaced."""
    words = list(words)
    for place in chance.sample(range(len(words) - 1), 6):
        words[place], words[place + 1] = words[place + 1], words[place]
    for place in chance.sample(range(len(words)), 2):
        words[place] = chance.choice(vocabulary)
    return words


def test_the_models_bytes_are_part_of_the_identity(causal: Path, tmp_path: Path) -> None:
    def identity(folder: Path) -> dict[str, str]:
        return dict(Semantic(SemanticConfig(model=str(folder))).external_inputs())

    assert Semantic(SemanticConfig()).external_inputs() == {}
    before = identity(causal)
    shutil.copytree(causal, tmp_path / "copy")
    assert identity(tmp_path / "copy") == before
    weights = tmp_path / "copy" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert identity(tmp_path / "copy") != before
    with pytest.raises(ArtifactError, match="there is no model"):
        identity(tmp_path / "absent")


def test_a_wrong_layer_or_directory_is_explained(causal: Path, tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="no layer 3"):
        Encoder(causal, 3, 32, "cpu")
    with pytest.raises(ArtifactError, match="no model can be loaded"):
        Encoder(tmp_path, -1, 32, "cpu")


@pytest.mark.parametrize("model", [None, "causal"])
def test_the_same_bytes_twice(model: str | None, texts: list[str], request: pytest.FixtureRequest, tmp_path: Path) -> None:
    directory = model and str(request.getfixturevalue(model))
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        run = make_run(folder)
        outputs = {flow: folder / flow for flow in Semantic.outputs}
        stage = Semantic(SemanticConfig(model=directory, dimensions=64, heldout=0.2))
        stage.execute({"corpus": write(folder, texts[::4]).path}, outputs, run)
        files = [file for output in outputs.values() for file in sorted(output.rglob("*")) if file.is_file()]
        made.append(([file.read_bytes() for file in files], run.summary))
    assert made[0] == made[1]
    if model is None:
        assert made[0][1]["duplicates"] == PLANTED // 4
