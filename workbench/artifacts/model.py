"""Tokenizer and model directories in Hugging Face's format, safe to load: no pickle, no code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workbench.errors import ArtifactError

FORBIDDEN_SUFFIXES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".py", ".pyc", ".so"}
FORBIDDEN_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")
"""First bytes of a pickle of each protocol, and of the archives in which torch writes pickles; file names do not matter."""
_NUMPY_FLOATS = {"F64", "F32", "F16"}
_BF16_EXPONENT = 0x7F80
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
        raise ArtifactError("the tokenizer lacks a chat template", str(directory), "set `chat_template` before saving")
    if not config.get("eos_token"):
        raise ArtifactError("the tokenizer lacks an end-of-sequence token", str(directory), "set `eos_token` before saving")


def validate_model(directory: Path) -> None:
    """Check that the directory is a model with its tokenizer, and that its weights are complete and finite.

    Raises:
        ArtifactError: names the file or the tensor at fault.
    """
    validate_tokenizer(directory)
    config = _read_json(directory / "config.json")
    if "model_type" not in config:
        raise ArtifactError("config.json lacks model_type", str(directory), "save the model with `save_pretrained`")
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
                kind = tensors.get_slice(name).get_dtype()
                if kind == "BF16":
                    finite = _is_finite_bf16(file, name)
                else:
                    finite = kind not in _NUMPY_FLOATS or bool(np.isfinite(tensors.get_tensor(name)).all())
                if not finite:
                    raise ArtifactError(f"tensor {name!r} is not finite", str(file), "lower the learning rate")
    except SafetensorError as error:
        raise ArtifactError(f"not a complete safetensors file: {error}", str(file), "remove it and rerun its stage") from error


def _is_finite_bf16(file: Path, name: str) -> bool:
    """numpy lacks bfloat16, so the bits are checked: an exponent of all ones is an infinity or NaN.

    How tensors are placed in the file: https://huggingface.co/docs/safetensors#format
    """
    import numpy as np

    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        start, end = json.loads(stream.read(size))[name]["data_offsets"]
        stream.seek(8 + size + start)
        bits = np.frombuffer(stream.read(end - start), dtype="<u2")
    return not bool(((bits & _BF16_EXPONENT) == _BF16_EXPONENT).any())


def _refuse_code(directory: Path) -> None:
    for file in sorted(directory.rglob("*")):
        if file.suffix.lower() in FORBIDDEN_SUFFIXES or (file.is_file() and _starts(file, FORBIDDEN_STARTS)):
            raise ArtifactError(f"{file.name} may run code when loaded", str(directory), "save weights as safetensors")
    for file in sorted(directory.glob("*config*.json")):
        for key, value in _walk(_read_json(file)):
            _refuse_key(file, key, value)
    if (directory / "adapter_config.json").is_file():
        raise ArtifactError(
            "adapter_config.json makes transformers load another model", str(directory), "merge the adapter into the weights"
        )


def _refuse_key(file: Path, key: str, value: Any) -> None:
    """Refuse settings that make transformers fetch or run external code."""
    if key == "auto_map":
        fix = "remove auto_map; install the code as a plugin"
        raise ArtifactError(f"{file.name} has an auto_map, which runs code", str(file.parent), fix)
    # attn_implementation: owner/name would be fetched from the Hub and run
    if "_implementation" in key and "/" in str(value):
        raise ArtifactError(f"{file.name} has {key}: {value!r}, code of the Hub", str(file.parent), f"remove {key}")


def _walk(content: Any) -> Iterator[tuple[str, Any]]:
    """Every key in nested JSON with its value."""
    if isinstance(content, dict):
        yield from content.items()
        content = list(content.values())
    if isinstance(content, list):
        for value in content:
            yield from _walk(value)


def _starts(file: Path, starts: tuple[bytes, ...]) -> bool:
    with file.open("rb") as stream:
        return stream.read(max(map(len, starts))).startswith(starts)


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
