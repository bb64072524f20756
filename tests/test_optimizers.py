from pathlib import Path

import architectures
import pytest
import torch

from workbench.kinds.training import OptimizerConfig
from workbench.testing import make_run
from workbench.training.optimizers import MuonAdamW, _split, build, orthogonalize


def test_orthogonalize_agrees_with_the_polar_factor() -> None:
    matrices = torch.randn(3, 24, 40, generator=torch.Generator().manual_seed(0))
    singular = torch.linalg.svdvals(orthogonalize(matrices, torch.float32))
    assert singular.min() > 0.5
    assert singular.max() < 1.3
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    cosine = torch.nn.functional.cosine_similarity((u @ v).flatten(1), orthogonalize(matrices, torch.float32).flatten(1))
    assert cosine.min() > 0.95


@pytest.mark.parametrize("shape", [(16, 48), (48, 16), (32, 32)])
def test_a_muon_step_equals_torch_muon_within_bfloat16(shape: tuple[int, int]) -> None:
    start = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    group = {"params": [ours], "muon": True, "transposed": False, "lr": 0.02, "weight_decay": 0.1}
    optimizers = [MuonAdamW([group], torch.float32), torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1)]
    for step in range(3):
        gradient = torch.randn(shape, generator=torch.Generator().manual_seed(2 + step))
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    assert (ours - theirs).abs().max() < 0.02 * 0.05 * 3
    assert (ours - start).abs().max() > 1e-3


def test_state_survives_saving_and_loading() -> None:
    def step(optimizer: MuonAdamW, matrix: torch.nn.Parameter, vector: torch.nn.Parameter, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        matrix.grad, vector.grad = torch.randn(8, 4, generator=generator), torch.randn(8, generator=generator)
        optimizer.step()

    def make() -> tuple[MuonAdamW, torch.nn.Parameter, torch.nn.Parameter]:
        matrix, vector = torch.nn.Parameter(torch.ones(8, 4)), torch.nn.Parameter(torch.ones(8))
        groups = [
            {"params": [matrix], "muon": True, "transposed": False, "lr": 0.1, "weight_decay": 0.0},
            {"params": [vector], "muon": False, "transposed": False, "lr": 0.1, "weight_decay": 0.0},
        ]
        return MuonAdamW(groups, torch.float32), matrix, vector

    whole, resumed = make(), make()
    for seed in range(4):
        step(*whole, seed)
    before = make()
    for seed in range(2):
        step(*before, seed)
    resumed[0].load_state_dict(before[0].state_dict())
    with torch.no_grad():
        resumed[1].copy_(before[1])
        resumed[2].copy_(before[2])
    for seed in range(2, 4):
        step(*resumed, seed)
    assert torch.equal(whole[1], resumed[1])
    assert torch.equal(whole[2], resumed[2])


def names(model: torch.nn.Module, parameters: list[torch.nn.Parameter]) -> set[str]:
    known = {id(parameter): name for name, parameter in model.named_parameters()}
    return {known[id(parameter)] for parameter in parameters}


def test_positions_are_no_hidden_matrix_and_gpt2_keeps_its_matrices_turned() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=32, n_positions=16, n_embd=8, n_layer=1, n_head=2))
    hidden, transposed, outside, _ = _split(model)
    assert hidden == []
    assert names(model, outside) == {"transformer.wte.weight", "transformer.wpe.weight"}
    assert {name.split(".", 3)[-1] for name in names(model, transposed)} == {
        "attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight",
    }  # fmt: skip


def test_a_turned_matrix_takes_the_same_step_as_one_that_is_not() -> None:
    torch.manual_seed(0)
    plain = torch.nn.Parameter(torch.randn(24, 8))
    turned = torch.nn.Parameter(plain.detach().T.clone())
    for matrix, transposed in ((plain, False), (turned, True)):
        group = {"params": [matrix], "muon": True, "transposed": transposed, "lr": 0.02, "weight_decay": 0.0}
        optimizer = MuonAdamW([group], torch.float32)
        gradient = torch.arange(192.0).reshape(24, 8).sin()
        matrix.grad = gradient.T.clone() if transposed else gradient
        optimizer.step()
    assert torch.allclose(plain, turned.T, atol=1e-5)


def test_the_head_of_a_reward_model_is_no_hidden_matrix() -> None:
    from transformers import LlamaConfig, LlamaForSequenceClassification

    shape = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 32}
    model = LlamaForSequenceClassification(LlamaConfig(**shape, num_labels=1, pad_token_id=0))
    assert names(model, _split(model)[2]) == {"model.embed_tokens.weight", "score.weight"}


def made(model_type: str) -> torch.nn.Module:
    from transformers import AutoConfig, AutoModelForCausalLM

    return AutoModelForCausalLM.from_config(AutoConfig.for_model(**architectures.of(model_type), vocab_size=64, pad_token_id=0))


@pytest.mark.parametrize(
    ("model_type", "place", "group"),
    [
        ("mixtral", "mlp.experts.gate_up_proj", 0),
        ("mixtral", "mlp.experts.down_proj", 0),
        ("mixtral", "mlp.gate.weight", 3),
        ("gpt_oss", "mlp.experts.gate_up_proj", 1),  # it holds them (in, out)
        ("gpt_oss", "mlp.experts.gate_up_proj_bias", 3),
        ("gpt_oss", "mlp.router.weight", 3),
        ("deepseek_v3", "mlp.gate.weight", 3),
        ("deepseek_v3", "mlp.gate_proj.weight", 0),
        ("granitemoehybrid", "block_sparse_moe.router.weight", 3),
        ("jamba", "feed_forward.router.weight", 3),
        ("jamba", "mamba.A_log", 3),
        ("qwen3_next", "mlp.shared_expert_gate.weight", 3),
        ("mamba", "mixer.A_log", 3),
        ("mamba", "mixer.x_proj.weight", 0),
        ("mamba", "mixer.conv1d.weight", 3),
        ("recurrent_gemma", "rg_lru.input_gate_bias", 3),
    ],
)
def test_experts_are_matrices_and_routers_rates_and_biases_are_not(model_type: str, place: str, group: int) -> None:
    """0: hidden matrices; 1: those stored (in, out); 3: what AdamW trains without decay."""
    model = made(model_type)
    found = [place_of for place_of, part in enumerate(_split(model)) if any(n.endswith(place) for n in names(model, part))]
    assert found == [group]


@pytest.mark.parametrize("model_type", ["llama", "mixtral", "gpt_oss", "jamba"])
def test_each_weight_is_in_one_group(model_type: str) -> None:
    model = made(model_type)
    parts = [id(parameter) for part in _split(model) for parameter in part]
    assert sorted(parts) == sorted(id(parameter) for parameter in model.parameters())


@pytest.mark.parametrize("transposed", [False, True])
def test_experts_in_one_tensor_step_like_as_many_matrices(transposed: bool) -> None:
    start = torch.randn(3, 24, 8, generator=torch.Generator().manual_seed(0))
    gradients = [torch.randn(3, 24, 8, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    fused = torch.nn.Parameter(start.clone())
    apart = [torch.nn.Parameter(matrix.clone()) for matrix in start]
    for matrices in ([fused], apart):
        group = {"params": matrices, "muon": True, "transposed": transposed, "lr": 0.02, "weight_decay": 0.1}
        optimizer = MuonAdamW([group], torch.float32)
        for gradient in gradients:
            for matrix, part in zip(matrices, [gradient] if len(matrices) == 1 else gradient, strict=True):
                matrix.grad = part.clone()
            optimizer.step()
    assert torch.equal(fused, torch.stack([matrix.detach() for matrix in apart]))
    assert (fused - start).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("steps", "warmup", "decay", "peak"), [(100, 10, 0.9, None), (10, 10, 0.9, "33%"), (100, 80, 0.9, "35%")]
)
def test_warm_up_that_overlaps_with_decay_is_said(
    steps: int, warmup: int, decay: float, peak: str | None, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    config = OptimizerConfig(warmup_steps=warmup, decay_share=decay)
    build(made("llama"), config, steps, make_run(tmp_path))
    said = [str(warning.message) for warning in recwarn if "warm-up" in str(warning.message)]
    assert bool(said) == (peak is not None)
    if peak:
        assert f"reach {peak} of what is set" in said[0]
