import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import architectures
import pytest
from workbench_pretrain_causal import DEFAULT_ARCHITECTURE, Causal, CausalConfig, build
from workbench_pretrain_causal.packing import pack

from workbench.artifacts import corpus, model
from workbench.artifacts.corpus import Corpus, Document
from workbench.errors import ArtifactError, ParamsError, PluginError, TrainingError
from workbench.kinds.training import OptimizerConfig
from workbench.project.params import Choice
from workbench.project.plugin_lock import configure
from workbench.testing import RecordedRun, make_run

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


QUICK_TYPES = ("llama", "gpt_neox", "mixtral", "nemotron_h")
"""Of dense weights; of an untied head that the Trainer loses; of fused experts; of a hybrid with other names in the file."""
RESUMED = [
    pytest.param(name, marks=() if name in QUICK_TYPES else pytest.mark.slow, id=name) for name in sorted(architectures.FIELDS)
]


@pytest.mark.parametrize("model_type", RESUMED)
def test_a_killed_run_ends_with_the_bytes_of_an_uninterrupted_one(
    model_type: str, text: Corpus, tokenizer: Path, tmp_path: Path
) -> None:
    config = small(architecture=architectures.of(model_type), tokens=32 * 4 * 6, save_steps=2, logging_steps=1)
    Causal(config).pretrain(text, tokenizer, tmp_path / "whole", run_in(tmp_path / "first"))

    killed = run_in(tmp_path / "second")

    def stop(done: float, total: float | None, unit: str, label: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    killed.listener.progress = stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        Causal(config).pretrain(text, tokenizer, tmp_path / "resumed", killed)
    assert [path.name for path in killed.checkpoints.iterdir()] == ["checkpoint-2"]
    Causal(config).pretrain(text, tokenizer, tmp_path / "resumed", run_in(tmp_path / "second"))
    same = {
        name: (tmp_path / "resumed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        for name in ("model.safetensors", "training_log.csv")
    }
    sys.stdout.write(f"{model_type:20} weights {same['model.safetensors']}  log {same['training_log.csv']}\n")
    assert all(same.values())


def test_a_checkpoint_without_a_weight_is_refused(text: Corpus, tokenizer: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    from workbench.training import checkpoints

    config = small(tokens=32 * 4 * 4, save_steps=2, logging_steps=1)
    Causal(config).pretrain(text, tokenizer, tmp_path / "whole", run_in(tmp_path / "run"))
    newest = tmp_path / "run" / "checkpoints" / "checkpoint-4"
    weights = load_file(newest / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, newest / "model.safetensors", {"format": "pt"})
    checkpoints.seal(newest)
    with pytest.raises(TrainingError, match=r"lacks weights of the model: model\.layers\.1\.mlp\.up_proj\.weight\n") as caught:
        Causal(config).pretrain(text, tokenizer, tmp_path / "again", run_in(tmp_path / "run"))
    assert caught.value.where == str(newest)


def run_in(folder: Path) -> RecordedRun:
    """A run as ``attention: auto`` makes it on a CPU in fp32; with the checkpoints that an earlier one in the folder left."""
    folder.mkdir(exist_ok=True)
    run = make_run(folder)
    run.compute = replace(run.compute, attention="sdpa")
    return run


@pytest.mark.parametrize("given", [{"save_steps": 30}, {"logging_steps": 7}])
def test_a_checkpoint_between_two_rows_of_the_log_is_refused_before_anything_runs(given: dict[str, int]) -> None:
    """By its key, be its value a default or not."""
    with pytest.raises(ParamsError, match="is not a multiple of logging_steps") as caught:
        configure(Causal, Choice("causal", given, "pretrain"))
    assert caught.value.where == "params.yaml, key pretrain.with.save_steps"


def test_a_model_type_that_is_not_there_is_refused(text: Corpus, tokenizer: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with pytest.raises(PluginError, match="no model type 'lama'") as caught:
        Causal(small(architecture={"model_type": "lama"})).pretrain(text, tokenizer, tmp_path / "out", run)
    assert caught.value.where == "params.yaml, stage test, key architecture.model_type"
    with pytest.raises(ParamsError, match="'vit' has no causal model"):
        Causal(small(architecture={"model_type": "vit"})).pretrain(text, tokenizer, tmp_path / "out", run)


def test_a_corpus_shorter_than_a_sequence_is_refused(text: Corpus, tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="fewer than one sequence"):
        pack(text, tokenizer, 0, 1_000_000)


LLAMA = {**TINY, "hidden_size": 64, "num_attention_heads": 4}
GPT2 = architectures.of("gpt2")
BERT = {key: value for key, value in architectures.of("bert").items() if key != "is_decoder"}
LSH = {"attn_layers": ["local", "lsh"], "num_buckets": 8, "local_attn_chunk_length": 8, "lsh_attn_chunk_length": 8}
REFORMER = {"model_type": "reformer", "hidden_size": 64, "num_attention_heads": 4, "attention_head_size": 16, **LSH}


@pytest.mark.parametrize(
    ("architecture", "key", "said", "fix"),
    [
        ({**LLAMA, "hiden_size": 32}, "hiden_size", "'llama' has no field 'hiden_size'", "did you mean 'hidden_size'?"),
        ({**LLAMA, "n_embd": 32}, "n_embd", "'llama' has no field 'n_embd'", "LlamaConfig documents the fields"),
        ({**architectures.of("mixtral"), "num_expert": 8}, "num_expert", "no field 'num_expert'", "'num_experts'"),
        ({**LLAMA, "temperature": 0.5}, "temperature", "no field 'temperature'", "remove it"),
        ({**LLAMA, "attn_implementation": "eager"}, "attn_implementation", "no field of the architecture", "compute.yaml"),
        ({**GPT2, "hidden_size": 64}, "hidden_size", "hidden_size and n_embd are the same field", "keep one"),
        ({**LLAMA, "hidden_size": "wide"}, "hidden_size", "expected int, got str", "LlamaConfig"),
        ({**LLAMA, "hidden_act": "sine"}, "hidden_act", "KeyError: 'sine'", "LlamaConfig"),
        ({**LLAMA, "rope_scaling": {"type": "linaer", "factor": 2.0}}, "rope_scaling", "'linaer'", "LlamaConfig"),
        ({**LLAMA, "num_attention_heads": 3}, "hidden_size", "not a multiple of the number of attention heads", "LlamaConfig"),
        ({**GPT2, "n_head": 5}, "n_head", "n_embd is 64, which its 5 heads do not divide", "use a multiple of 5"),
        ({**LLAMA, "num_key_value_heads": 3}, "num_key_value_heads", "does not divide num_attention_heads, 4", "divisor of 4"),
        # Its default is named as well.
        ({**LLAMA, "model_type": "mixtral"}, "num_key_value_heads", "num_key_value_heads is 8, which does not", "divisor of 4"),
        ({**LLAMA, "vocab_size": 100}, "vocab_size", "vocab_size is 100, and the tokenizer has 320 tokens", "leave it out"),
        ({**GPT2, "n_positions": 16}, "n_positions", "n_positions is 16, and a training sequence has 32 tokens", "leave it out"),
        ({"model_type": "xlnet", "d_model": 64, "n_layer": 1, "n_head": 4}, "", "NotImplementedError", "XLNetConfig"),
        ({"model_type": "zamba2", "num_hidden_layers": 2}, "num_hidden_layers", "`layer_types`", "Zamba2Config"),
        ({**LLAMA, "model_type": "mamba2"}, "hidden_size", "hidden_size * expand (128) must equal", "Mamba2Config"),
        (
            {**BERT, "is_decoder": True, "model_type": "roberta"},
            "max_position_embeddings",
            "reads 8 tokens and not 32",
            "than 32",
        ),
        (BERT, "", "reads later tokens", "add `is_decoder: true`"),
        ({"model_type": "xlm", "emb_dim": 64, "n_layers": 1, "n_heads": 4}, "", "reads later tokens", "use a causal model_type"),
        ({**REFORMER, "is_decoder": True, "axial_pos_embds": False}, "", "reads later tokens", "use a causal model_type"),
        ({"model_type": "xlstm", "hidden_size": 64, "num_blocks": 1, "num_heads": 4}, "", "cannot make a 'xlstm'", "xLSTMConfig"),
    ],
)
def test_an_architecture_of_which_no_causal_model_can_be_made_is_refused(
    architecture: dict[str, object], key: str, said: str, fix: str, tokenizer: Path
) -> None:
    from workbench.models.pretrained import load_tokenizer

    with pytest.raises(ParamsError) as caught:
        build(small(architecture=architecture), load_tokenizer(tokenizer), "sdpa", "params.yaml, key pretrain.with.")
    assert said in caught.value.what
    assert caught.value.where == "params.yaml, key pretrain.with.architecture" + (f".{key}" if key else "")
    assert fix in caught.value.fix


@pytest.mark.parametrize("change", [{"rope_theta": 1e5}, {"head_dim": 8}, {"tie_word_embeddings": True}, {"vocab_size": 512}])
def test_fields_that_a_type_knows_are_taken(change: dict[str, object], tokenizer: Path) -> None:
    from workbench.models.pretrained import load_tokenizer

    made = build(small(architecture={**LLAMA, **change}), load_tokenizer(tokenizer), "sdpa", "").config.to_dict()
    assert {**made, "rope_theta": made["rope_parameters"]["rope_theta"]}.items() >= change.items()


def test_looking_at_a_model_moves_no_random_number(tokenizer: Path) -> None:
    """So that the training that follows is the same."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from workbench.models.pretrained import load_tokenizer

    torch.manual_seed(0)
    ours = build(small(architecture=GPT2), load_tokenizer(tokenizer), None, "")
    after = torch.rand(1)
    torch.manual_seed(0)
    theirs = AutoModelForCausalLM.from_config(AutoConfig.for_model(**ours.config.to_dict()))
    assert torch.equal(after, torch.rand(1))
    assert ours.training == theirs.training
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_check_examines_what_differs_from_the_default() -> None:
    with pytest.raises(ParamsError, match="no field 'hiden_size'") as caught:
        Causal(small(architecture={**LLAMA, "hiden_size": 32})).examine("params.yaml, key pretrain.small.with.")
    assert caught.value.where == "params.yaml, key pretrain.small.with.architecture.hiden_size"
    with pytest.raises(ParamsError, match="not a multiple"):
        Causal(small(architecture={**DEFAULT_ARCHITECTURE, "num_attention_heads": 3})).examine("")


def test_to_check_the_default_is_quick() -> None:
    code = "import sys; from workbench_pretrain_causal import Causal; Causal(Causal.Config()).examine('')"
    code = f"{code}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
