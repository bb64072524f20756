"""Muon for the hidden matrices and AdamW for the rest, as one optimizer that a Trainer can hold.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) orthogonalises the momentum of every hidden
matrix by Newton-Schulz iterations. ``torch.optim.Muon`` (2.13) always iterates in bfloat16 and one matrix at a time; a
processor without bfloat16 arithmetic emulates it, which made a whole training step 20 times slower where it was
measured. Here the iteration has the precision of the training, and matrices of one shape are iterated as a batch. The
experts of a mixture, which a model may hold as one tensor, are a matrix each.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from workbench.errors import TrainingError

if TYPE_CHECKING:
    from workbench.kinds.training import OptimizerConfig
    from workbench.run import Run

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration s → a·s + b·s³ + c·s⁵ on singular values; steepest at zero (Jordan et al. 2024)."""
ITERATIONS = 5
MOMENTUM = 0.95
_HEADS = ("score", "classifier")
"""Names under which transformers keeps the head of a classifier or reward model."""
_ROUTERS = frozenset({"gate", "router", "shared_expert_gate"})
"""Names of modules that choose experts, where they have a row per expert or a single one."""
_EXPERT_COUNTS = ("num_local_experts", "num_experts", "n_routed_experts")
"""Fields of a configuration that say how many experts a mixture has."""


def orthogonalize(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """Approximate U·Vᵀ of every matrix U·S·Vᵀ: (batch, rows, columns) in, the same shape in ``dtype`` out."""
    a, b, c = QUINTIC
    tall = matrices.size(-2) > matrices.size(-1)
    x = (matrices.mT if tall else matrices).to(dtype).contiguous()  # wide, so that the Gram matrix is the small one
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)  # the Frobenius norm bounds the spectral norm
    for _ in range(ITERATIONS):
        gram = torch.bmm(x, x.mT)  # (batch, short, short)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class MuonAdamW(torch.optim.AdamW):
    """AdamW whose parameter groups with ``muon: True`` are updated by Muon instead.

    In such a group, ``transposed: True`` means that its matrices are stored (in, out) rather than (out, in).

    Both kinds share ``param_groups``, so one schedule scales all learning rates and one ``state_dict`` saves all state.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], dtype: torch.dtype, betas: tuple[float, float] = (0.9, 0.95)) -> None:
        super().__init__(groups, betas=betas, fused=True)
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Take one step; ``closure`` is as in every torch optimizer."""
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group["muon"]]
        try:
            loss = super().step(closure)
        finally:
            self.param_groups = groups
        for group in groups:
            if group["muon"]:
                self._step_matrices(group)
        return loss

    def _step_matrices(self, group: dict[str, Any]) -> None:
        by_shape: dict[torch.Size, list[nn.Parameter]] = {}
        for matrix in group["params"]:
            if matrix.grad is not None:
                by_shape.setdefault(matrix.shape, []).append(matrix)
        for shape, matrices in by_shape.items():
            rows, columns = shape[-2:]
            momenta = torch.stack([self._nesterov(matrix) for matrix in matrices])  # (matrices, [experts,] rows, columns)
            updates = orthogonalize(momenta.view(-1, rows, columns), self._dtype).view_as(momenta)
            outputs, inputs = (columns, rows) if group["transposed"] else (rows, columns)
            scale = math.sqrt(max(1.0, outputs / inputs))
            for matrix, update in zip(matrices, updates.unbind(), strict=True):
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(update.to(matrix.dtype), alpha=-group["lr"] * scale)

    def _nesterov(self, matrix: nn.Parameter) -> Tensor:
        assert matrix.grad is not None
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix.grad)
            state["step"] = torch.zeros(())  # AdamW's load_state_dict looks for it in every parameter's state
        state["step"] += 1
        buffer = state["momentum_buffer"].lerp_(matrix.grad, 1 - MOMENTUM)
        return matrix.grad.lerp(buffer, MOMENTUM)


def build(model: nn.Module, config: OptimizerConfig, steps: int, run: Run) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """The optimizer of a configuration and its schedule: linear warm-up, plateau, linear decay to zero at the last step.

    Warns where warm-up and decay overlap, so that the learning rates that are set are never reached.

    Raises:
        TrainingError: the model lacks weights that gradients could train, like an n-gram model.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        what = f"{type(model).__name__} lacks weights that gradients could train"
        raise TrainingError(what, f"stage {run.stage}", "start from another model, or only run its evaluations")
    peak = max(_scale(step, steps=steps, warmup=config.warmup_steps, decay=config.decay_share) for step in range(steps))
    if peak < 1:
        warnings.warn(
            f"{run.stage}: of {steps} steps, {config.warmup_steps} are warm-up and the last {config.decay_share:.0%} decay, "
            f"so the learning rates reach {peak:.0%} of what is set; lower optimizer.warmup_steps or optimizer.decay_share",
            stacklevel=2,
        )
    optimizer = MuonAdamW(_groups(model, config), torch.bfloat16 if run.compute.precision == "bf16" else torch.float32)
    return optimizer, LambdaLR(optimizer, partial(_scale, steps=steps, warmup=config.warmup_steps, decay=config.decay_share))


def _groups(model: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    hidden, transposed, outside, vectors = _split(model)
    muon = config.name == "muon"
    rate = config.matrix_learning_rate if muon else config.learning_rate
    groups = [
        {"params": hidden, "muon": muon, "transposed": False, "lr": rate, "weight_decay": config.weight_decay},
        {"params": transposed, "muon": muon, "transposed": True, "lr": rate, "weight_decay": config.weight_decay},
        {"params": outside, "muon": False, "lr": config.learning_rate, "weight_decay": 0.0},
        {"params": vectors, "muon": False, "lr": config.learning_rate, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _split(model: nn.Module) -> tuple[list[nn.Parameter], ...]:
    """Hidden matrices; those stored (in, out), as in GPT-2; embeddings and heads; everything that is not a matrix."""
    edges = [getattr(model, get)() for get in ("get_input_embeddings", "get_output_embeddings")]
    edges += [layer for layer in model.modules() if isinstance(layer, nn.Embedding)]  # of positions, too
    edges += [getattr(model, name, None) for name in _HEADS]
    edge_ids = {id(parameter) for layer in edges if layer is not None for parameter in layer.parameters()}
    turned = {id(parameter) for layer in model.modules() if isinstance(layer, Conv1D) for parameter in layer.parameters()}
    fused = _fused_experts(model)
    turned |= {key for key, is_transposed in fused.items() if is_transposed}
    experts = _number_of_experts(model)
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    is_matrix = {
        id(parameter): id(parameter) in fused or (parameter.ndim == 2 and not _is_of_vectors(name, parameter, experts))
        for name, parameter in trained
    }
    matrices = [parameter for _, parameter in trained if is_matrix[id(parameter)]]
    hidden = [matrix for matrix in matrices if id(matrix) not in edge_ids | turned]
    transposed = [matrix for matrix in matrices if id(matrix) in turned]
    outside = [matrix for matrix in matrices if id(matrix) in edge_ids]
    return hidden, transposed, outside, [parameter for _, parameter in trained if not is_matrix[id(parameter)]]


def _fused_experts(model: nn.Module) -> dict[int, bool]:
    """Id of each tensor (experts, out, in) that holds the experts of a layer → whether it is (experts, in, out) instead."""
    return {
        id(parameter): bool(getattr(layer, "is_transposed", False))
        for name, layer in model.named_modules()
        if name.rpartition(".")[2] == "experts"
        for parameter in layer.parameters(recurse=False)
        if parameter.ndim == 3
    }


def _number_of_experts(model: nn.Module) -> int:
    config = model.config.get_text_config() if isinstance(model, PreTrainedModel) else None
    return next((int(count) for field in _EXPERT_COUNTS if (count := getattr(config, field, None))), 0)


def _is_of_vectors(name: str, parameter: nn.Parameter, experts: int) -> bool:
    """Whether a parameter of two dimensions is no linear map between hidden layers: biases of experts, rates of a state space
    (``A_log``), and routers, each of whose rows scores an expert."""
    *modules, last = name.split(".")
    is_router = experts > 0 and not _ROUTERS.isdisjoint(modules) and parameter.shape[0] in (1, experts)
    return last == "A_log" or last.endswith("bias") or is_router


def _scale(step: int, *, steps: int, warmup: int, decay: float) -> float:
    """Factor applied to the peak learning rates at a step."""
    rising = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return rising * min(1.0, (steps - step) / (decay * steps))
