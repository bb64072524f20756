"""The architecture of a causal model: its configuration, held against what the classes of transformers know, and fresh weights.

Importing this module imports torch and transformers; the plugin imports it where a model is made or examined.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

import torch
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from workbench.errors import ParamsError
from workbench.models import types as model_types
from workbench.models.pretrained import attention_for

T = TypeVar("T")
LARGEST = 20_000_000
"""Parameters of a model that is made only to be looked at."""
PROBE = 8
"""Tokens of the text that shows whether a model reads later ones."""
NOISE = 2e-5
"""Share of a changed token's effect on its own logits that rounding may have on those before."""
_ELSEWHERE = dict.fromkeys(("attn_implementation", "_attn_implementation"), "attention in compute.yaml")
"""Fields that something else decides."""


def configure(architecture: Mapping[str, Any], needed: Mapping[str, Any], where: str) -> PreTrainedConfig:
    """The configuration of a causal model.

    Args:
        architecture: ``model_type`` and its fields, as params.yaml has them.
        needed: what the tokenizer and the training sequences ask for: ``vocab_size``, ``max_position_embeddings`` and the ids
            of special tokens. A field of the architecture goes before, but the first two may only be larger.
        where: what stands before the name of a key in errors, such as ``params.yaml, key pretrain.with.``.

    Raises:
        ParamsError: the type is no causal model, has no such field, or refuses a value.
        PluginError: neither transformers nor an installed distribution knows the type.
    """
    model_type = architecture["model_type"]
    model_types.register(model_type, f"{where}architecture.model_type")
    fields = {key: value for key, value in architecture.items() if key != "model_type"}
    cls = CONFIG_MAPPING[model_type]
    made = MODEL_FOR_CAUSAL_LM_MAPPING.get(cls, None)
    if made is None:
        fix = "use one that has: llama, gpt2, mixtral, mamba2 …"
        raise ParamsError(f"{model_type!r} has no causal model", f"{where}architecture.model_type", fix)
    _require_once(cls, fields, where)
    own = {cls.attribute_map.get(key, key) for key in fields}
    filled = {key: value for key, value in needed.items() if cls.attribute_map.get(key, key) not in own}
    config = _tried(lambda: cls(**{**filled, **fields}), cls, fields, where)
    _require_known(config, made, fields, where)
    _require_room(config, needed, where)
    _require_heads(config, where)
    return config


def examine(architecture: Mapping[str, Any], vocabulary: int, length: int, where: str) -> None:
    """Refuse an architecture of which no causal model can be made for a vocabulary and sequences of a length, in tokens.

    Raises:
        ParamsError: as :func:`configure`, and as :func:`create` for a model of up to :data:`LARGEST` parameters.
        PluginError: neither transformers nor an installed distribution knows the type.
    """
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
    needed = {"vocab_size": vocabulary, "max_position_embeddings": length, **special}
    config = configure(architecture, needed, where)
    with torch.device("meta"):
        model = _tried(lambda: AutoModelForCausalLM.from_config(config), type(config), architecture, where)
    if sum(parameter.numel() for parameter in model.parameters()) <= LARGEST:
        create(config, None, length, architecture, where)


def create(
    config: PreTrainedConfig, attention: str | None, length: int, fields: Mapping[str, Any], where: str
) -> PreTrainedModel:
    """A model with fresh weights that reads no later token.

    Args:
        config: of :func:`configure`.
        attention: name of the implementation, as transformers knows it; a class without sdpa takes eager instead.
        length: tokens that it has to read at once.
        fields: those of params.yaml, for errors.
        where: what stands before the name of a key in errors, such as ``params.yaml, key pretrain.with.``.

    Raises:
        ParamsError: transformers cannot make it, or :func:`require_causal` refuses it.
    """
    implementation = attention_for(config, attention)
    model: PreTrainedModel = _tried(
        lambda: AutoModelForCausalLM.from_config(config, attn_implementation=implementation), type(config), fields, where
    )
    require_causal(model, length, fields, where)
    return model


def require_causal(model: PreTrainedModel, length: int, fields: Mapping[str, Any], where: str) -> None:
    """Refuse a model whose logits at a token depend on later tokens, change from one pass to the next, or end too early.

    The first kind learns to read off what it is to predict; an encoder does, unless its configuration says ``is_decoder``. Two
    passes tell, over texts that differ in the last token alone.

    Args:
        model: with any weights.
        length: tokens that it has to read at once.
        fields: those of params.yaml, for errors.
        where: what stands before the name of a key in errors.

    Raises:
        ParamsError: it is one, or it cannot read a text.
    """
    config, named = model.config, f"a {model.config.model_type!r} of these fields"
    probed = copy.deepcopy(model).float().eval()  # big_bird, for one, changes by reading a short text

    def logits(ids: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            read: torch.Tensor = probed(input_ids=ids).logits[0]
            return read

    for tokens in sorted({PROBE, length}):  # a short text shows it most, some models show it in a long one alone
        text = _plain_text(config, tokens)
        other = text.clone()
        other[0, -1] = text[0, -2]
        try:
            first, again, changed = logits(text), logits(text), logits(other)
        except Exception as error:
            if tokens == PROBE:
                _refuse(error, type(config), fields, where)
            what = f"{named} reads {PROBE} tokens and not {length}: {type(error).__name__}: {error}"
            fix = f"set it higher than {length}: some models keep a few positions for themselves"
            raise ParamsError(what, f"{where}architecture.max_position_embeddings", fix) from error
        noise = NOISE * (first[-1] - changed[-1]).abs().max()
        if (first - again).abs().max() > noise:
            what = f"{named} gives other logits each time it reads a text, so no result could be made again"
            raise ParamsError(what, f"{where}architecture", "use another model_type")
        if (first[:-1] - changed[:-1]).abs().max() > noise:
            what = f"{named} reads later tokens: the logits at a token change with the one that it is to predict"
            fix = "add `is_decoder: true`" if getattr(config, "is_decoder", None) is False else "use a causal model_type"
            raise ParamsError(what, f"{where}architecture", fix)


def _plain_text(config: PreTrainedConfig, length: int) -> torch.Tensor:
    """Ids of shape (1, ``length``) without special tokens; neighbours differ."""
    known = config.get_text_config()
    special = {known.pad_token_id, known.eos_token_id, known.bos_token_id}
    plain = [token for token in range(min(known.vocab_size, PROBE)) if token not in special] or [0]
    return torch.tensor([[plain[place % len(plain)] for place in range(length)]])


def _require_once(cls: type[PreTrainedConfig], fields: Mapping[str, Any], where: str) -> None:
    for key in fields:
        if (same := cls.attribute_map.get(key, key)) != key and same in fields:
            raise ParamsError(f"{key} and {same} are the same field", f"{where}architecture.{key}", "keep one of them")


def _require_known(config: PreTrainedConfig, made: type[PreTrainedModel], fields: Mapping[str, Any], where: str) -> None:
    """Transformers keeps a field that it does not know as an attribute that nothing reads, and drops those of generation."""
    cls = type(config)
    known = {field.name for field in dataclasses.fields(cls)} | set(cls.attribute_map)
    known |= {name for name, value in inspect.getmembers(cls) if isinstance(value, property)}
    known |= set(inspect.signature(cls.__init__).parameters)
    for key in fields:
        if key in _ELSEWHERE:
            fix = f"remove it, and set {_ELSEWHERE[key]}"
            raise ParamsError(f"{key} is no field of the architecture", f"{where}architecture.{key}", fix)
        dropped = key in vars(GenerationConfig()) or key in ("output_attentions", "name_or_path")
        if key in known or not (key in vars(config) or dropped) or _is_read(key, made):
            continue
        close = difflib.get_close_matches(key, known, 1)
        fix = f"did you mean {close[0]!r}?" if close else f"remove it; {cls.__name__} documents the fields"
        raise ParamsError(f"{cls.model_type!r} has no field {key!r}", f"{where}architecture.{key}", fix)


def _is_read(key: str, made: type[PreTrainedModel]) -> bool:
    """Whether the code of the model reads a field that its configuration does not declare, as qwen3_moe reads ``head_dim``."""
    source = inspect.getsource(inspect.getmodule(made) or made)
    return re.search(rf"""config\.{re.escape(key)}\b|["']{re.escape(key)}["']""", source) is not None


def _require_room(config: PreTrainedConfig, needed: Mapping[str, Any], where: str) -> None:
    text = config.get_text_config()
    for key, reader in (("vocab_size", "the tokenizer"), ("max_position_embeddings", "a training sequence")):
        has = getattr(text, key, None)
        if isinstance(has, int) and has < needed[key]:
            named = config.attribute_map.get(key, key)
            what = f"{named} is {has}, and {reader} has {needed[key]} tokens"
            raise ParamsError(what, f"{where}architecture.{named}", "leave it out, and it is filled in")


def _require_heads(config: PreTrainedConfig, where: str) -> None:
    text = config.get_text_config()
    width, heads, shared = (getattr(text, name, None) for name in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
    if not isinstance(heads, int) or not isinstance(width, int) or heads < 1:
        return
    named = {name: config.attribute_map.get(name, name) for name in ("hidden_size", "num_attention_heads", "num_key_value_heads")}
    if getattr(text, "head_dim", None) in (None, width // heads) and width % heads:
        what = f"{named['hidden_size']} is {width}, which its {heads} heads do not divide"
        fix = f"use a multiple of {heads}, or another {named['num_attention_heads']}"
        raise ParamsError(what, f"{where}architecture.{named['num_attention_heads']}", fix)
    if isinstance(shared, int) and shared > 0 and heads % shared:
        what = f"{named['num_key_value_heads']} is {shared}, which does not divide {named['num_attention_heads']}, {heads}"
        fix = f"set it to a divisor of {heads}"
        raise ParamsError(what, f"{where}architecture.{named['num_key_value_heads']}", fix)


def _tried(make: Callable[[], T], cls: type[PreTrainedConfig], fields: Mapping[str, Any], where: str) -> T:
    """What ``make`` returns; whatever transformers raises for a configuration is an error of its field."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001 - ValueError, NotImplementedError, AssertionError, StrictDataclassError, …
        _refuse(error, cls, fields, where)


def _refuse(error: Exception, cls: type[PreTrainedConfig], fields: Mapping[str, Any], where: str) -> NoReturn:
    said = " ".join(str(error).split()) or "it does not say what"
    names = [*fields, *(field.name for field in dataclasses.fields(cls))]
    spoken = said.lower().replace(" ", "_")  # "The hidden size (65) is not …"
    named = next((name for name in names if re.search(rf"\b{re.escape(name)}\b", said)), "")
    named = named or next((name for name in fields if name in spoken), "")
    named = named or next((name for name, value in fields.items() if said in repr(value)), "")  # KeyError: 'foo'
    what = f"transformers cannot make a {cls.model_type!r} of these fields: {type(error).__name__}: {said}"
    key = f"architecture.{named}" if named else "architecture"
    raise ParamsError(what, f"{where}{key}", f"{cls.__name__} documents the fields; what is not set has its default") from error
