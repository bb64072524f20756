"""Tokenizer and model directories in Hugging Face's format, safe to load: no pickle, no code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from workbench.errors import ArtifactError

FORBIDDEN_SUFFIXES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".py"}
TRAINING_LOG = "training_log.csv"
"""One row per logged step: ``step,tokens,loss,learning_rate,grad_norm``, written by the training kinds."""


def validate_tokenizer(directory: Path) -> None:
    """Check that the directory holds a fast tokenizer with a chat template and an end-of-sequence token.

    Raises:
        ArtifactError: names the file that is missing or unsafe.
    """
    _refuse_code(directory)
    _require_file(directory, "tokenizer.json")
    config = _read_json(directory / "tokenizer_config.json")
    if "chat_template" not in config and not (directory / "chat_template.jinja").is_file():
        raise ArtifactError("the tokenizer has no chat template", str(directory), "set `chat_template` before saving")
    if not config.get("eos_token"):
        raise ArtifactError("the tokenizer has no end-of-sequence token", str(directory), "set `eos_token` before saving")


def validate_model(directory: Path) -> None:
    """Check that the directory is a model with its tokenizer whose weights are whole and finite.

    Raises:
        ArtifactError: names the file or the tensor at fault.
    """
    validate_tokenizer(directory)
    config = _read_json(directory / "config.json")
    if "model_type" not in config:
        raise ArtifactError("config.json has no model_type", str(directory), "save the model with `save_pretrained`")
    weights = sorted(directory.glob("*.safetensors"))
    if not weights:
        raise ArtifactError("no *.safetensors file", str(directory), "save the model with `save_pretrained`")
    for file in weights:
        _require_finite(file)


def _require_finite(file: Path) -> None:
    import numpy as np
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as tensors:
            for name in sorted(tensors.keys()):
                if not _is_float(tensors.get_slice(name).get_dtype()):
                    continue
                if not np.isfinite(tensors.get_tensor(name)).all():
                    raise ArtifactError(f"tensor {name!r} is not finite", str(file), "lower the learning rate")
    except SafetensorError as error:
        raise ArtifactError(f"not a whole safetensors file: {error}", str(file), "remove it and rerun its stage") from error


def _is_float(dtype: str) -> bool:
    return dtype in {"F64", "F32", "F16"}


def _refuse_code(directory: Path) -> None:
    for file in sorted(directory.rglob("*")):
        if file.suffix in FORBIDDEN_SUFFIXES:
            raise ArtifactError(f"{file.name} may run code when loaded", str(directory), "save weights as safetensors")
    for name in ("config.json", "tokenizer_config.json"):
        if (directory / name).is_file() and "auto_map" in _read_json(directory / name):
            raise ArtifactError(
                f"{name} has an auto_map, which runs code", str(directory), "remove auto_map; install the code as a plugin"
            )


def _require_file(directory: Path, name: str) -> None:
    if not (directory / name).is_file():
        raise ArtifactError(f"{name} is missing", str(directory), "run the stage that makes it")


def _read_json(file: Path) -> dict[str, Any]:
    _require_file(file.parent, file.name)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"not JSON: {error}", str(file), "remove it and rerun its stage") from error
    if not isinstance(content, dict):
        raise ArtifactError("not a JSON object", str(file), "remove it and rerun its stage")
    return content
