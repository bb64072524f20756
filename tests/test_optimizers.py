import pytest
import torch

from workbench.optimizers import MuonAdamW, orthogonalize


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
    group = {"params": [ours], "muon": True, "lr": 0.02, "weight_decay": 0.1}
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
            {"params": [matrix], "muon": True, "lr": 0.1, "weight_decay": 0.0},
            {"params": [vector], "muon": False, "lr": 0.1, "weight_decay": 0.0},
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
