from pathlib import Path

import pytest
from workbench_pretrain_causal import Causal, CausalConfig
from workbench_pretrain_causal.packing import pack

from workbench.artifacts import corpus, model
from workbench.artifacts.corpus import Corpus, Document
from workbench.errors import ArtifactError, ParamsError, PluginError
from workbench.kinds.training import OptimizerConfig
from workbench.testing import make_run

MUON = OptimizerConfig(name="muon", learning_rate=4e-3, warmup_steps=2)
TINY = {"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    documents = [
        Document(f"The number after {n} is {n + 1}, and the one before is {n - 1}.", "count", {"origin": str(n)})
        for n in range(200)
    ]
    rows = ({"id": d.id, "text": d.text, "source": d.source, "meta": dict(d.meta)} for d in documents)
    corpus.write(folder, rows, corpus.schema(("origin",)))
    return Corpus(folder)


@pytest.fixture(scope="module")
def tokenizer(text: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from workbench_tokenizer_bpe import Bpe

    out = tmp_path_factory.mktemp("tokenizer")
    run = make_run(tmp_path_factory.mktemp("run"))
    Bpe(Bpe.Config(vocab_size=320)).train(text, out, run)
    return out


def small(**changes: object) -> CausalConfig:
    values = {
        "architecture": TINY,
        "context_length": 32,
        "tokens": 32 * 4 * 30,
        "batch_size": 4,
        "logging_steps": 5,
        "optimizer": MUON,
    }
    return CausalConfig(**{**values, **changes})  # type: ignore[arg-type]


def test_packing_loses_nothing_but_the_tail(text: Corpus, tokenizer: Path) -> None:
    from tokenizers import Tokenizer

    fast = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    expected = [token for document in text.texts() for token in (0, *fast.encode(document, add_special_tokens=False).ids)]
    packed = pack(text, tokenizer, 0, 32).tokens.reshape(-1).tolist()
    assert packed == expected[: len(packed)]
    assert len(expected) - len(packed) < 32


def test_training_learns_and_saves_a_model_that_loads(text: Corpus, tokenizer: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = make_run(tmp_path)
    stage = Causal(small())
    stage.execute({"corpus": text.path, "tokenizer": tokenizer}, {"out": tmp_path / "base"}, run)
    model.validate_model(tmp_path / "base")
    losses = [values["loss"] for step, values in run.listener.metrics_seen if step is not None and "loss" in values]
    assert losses[-1] < 0.7 * losses[0]
    assert "loss" in run.listener.charts
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    tokens = AutoTokenizer.from_pretrained(tmp_path / "base")
    assert loaded.config.vocab_size == len(tokens)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(text: Corpus, tokenizer: Path, tmp_path: Path) -> None:
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        run = make_run(tmp_path / name, seed)
        Causal(small(tokens=32 * 4 * 4)).pretrain(text, tokenizer, tmp_path / name / "out", run)
        weights.append((tmp_path / name / "out" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_a_killed_run_ends_with_the_bytes_of_an_uninterrupted_one(text: Corpus, tokenizer: Path, tmp_path: Path) -> None:
    config = small(tokens=32 * 4 * 12, save_steps=4, logging_steps=2)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = make_run(tmp_path / "whole")
    Causal(config).pretrain(text, tokenizer, tmp_path / "whole" / "out", whole)

    killed = make_run(tmp_path / "killed")

    def stop(done: float, total: float | None, unit: str, label: str) -> None:
        if done == 7:
            raise KeyboardInterrupt

    killed.listener.progress = stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        Causal(config).pretrain(text, tokenizer, tmp_path / "killed" / "out", killed)
    assert [path.name for path in killed.checkpoints.iterdir()] == ["checkpoint-4"]
    again = make_run(tmp_path / "killed")
    Causal(config).pretrain(text, tokenizer, tmp_path / "killed" / "out", again)
    for name in ("model.safetensors", "training_log.csv"):
        assert (tmp_path / "killed" / "out" / name).read_bytes() == (tmp_path / "whole" / "out" / name).read_bytes()


def test_a_checkpoint_between_two_rows_of_the_log_is_refused(text: Corpus, tokenizer: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with pytest.raises(ParamsError, match="not a multiple of logging_steps"):
        Causal(small(save_steps=7)).pretrain(text, tokenizer, tmp_path / "out", run)


def test_a_model_type_that_is_not_there_is_refused(text: Corpus, tokenizer: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with pytest.raises(PluginError, match="no model type 'lama'") as caught:
        Causal(small(architecture={"model_type": "lama"})).pretrain(text, tokenizer, tmp_path / "out", run)
    assert caught.value.where == "params.yaml, key pretrain.with.architecture"
    with pytest.raises(ParamsError, match=r"pretrain\.with\.architecture"):
        Causal(small(architecture={"model_type": "vit"})).pretrain(text, tokenizer, tmp_path / "out", run)


def test_a_corpus_shorter_than_a_sequence_is_refused(text: Corpus, tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="fewer than one sequence"):
        pack(text, tokenizer, 0, 1_000_000)
