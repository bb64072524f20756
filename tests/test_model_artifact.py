"""What a model's folder must be to pass for one."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import tiny_model
import torch
from safetensors.torch import load_file, save_file

from workbench.artifacts import model
from workbench.errors import ArtifactError


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [1.0, math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_named_in_any_precision(tmp_path: Path, kind: torch.dtype, value: float) -> None:
    folder = tiny_model.build_model(tmp_path)
    (file,) = folder.glob("*.safetensors")
    weights = {name: weight.to(kind) for name, weight in load_file(file).items()}
    name = sorted(weights)[1]
    weights[name].view(-1)[-1] = value
    save_file(weights, file, {"format": "pt"})
    if math.isfinite(value):
        model.validate_model(folder)
    else:
        with pytest.raises(ArtifactError, match=f"tensor '{name}' is not finite"):
            model.validate_model(folder)
