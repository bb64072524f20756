"""A small model of every kind of causal architecture: the fields of `pretrain causal`, by ``model_type``."""

from __future__ import annotations

from typing import Any

_SIZE: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
_GROUPED = {**_SIZE, "num_key_value_heads": 2}
_WIDE_HEADS = {**_GROUPED, "head_dim": 16}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2}
_LATENT = {
    "num_key_value_heads": 4,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "moe_intermediate_size": 32,
    "q_lora_rank": 32,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
}
_STATE_SPACE = {"mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1, "mamba_chunk_size": 32}

FIELDS: dict[str, dict[str, Any]] = {
    "bamba": {**_GROUPED, **_STATE_SPACE, "attn_layer_indices": [1]},
    "bert": {**_SIZE, "is_decoder": True},
    "big_bird": {**_SIZE, "is_decoder": True, "attention_type": "original_full"},
    "bitnet": {**_SIZE, "num_key_value_heads": 4},
    "bloom": {"hidden_size": 64, "n_layer": 2, "n_head": 4},
    "deepseek_v2": {**_SIZE, **_LATENT},
    "deepseek_v3": {**_SIZE, **_LATENT, "n_group": 1, "topk_group": 1},
    "falcon_h1": {**_GROUPED, **_STATE_SPACE, "mamba_d_ssm": 128},
    "gemma2": _WIDE_HEADS,
    "gemma3_text": _WIDE_HEADS,
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4},
    "gpt_neo": {"hidden_size": 64, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]},
    "gpt_neox": _SIZE,
    "gpt_oss": {**_WIDE_HEADS, "num_local_experts": 4, "num_experts_per_tok": 2},
    "granitemoehybrid": {
        **_GROUPED,
        **_STATE_SPACE,
        "layer_types": ["mamba", "attention"],
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "shared_intermediate_size": 64,
    },
    "jamba": {
        **_GROUPED,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "num_experts": 4,
        "mamba_d_state": 8,
        "use_mamba_kernels": False,
    },
    "lfm2": {**_GROUPED, "layer_types": ["conv", "full_attention"]},
    "llama": _SIZE,
    "mamba": {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 8},
    "mamba2": {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "state_size": 16,
        "num_heads": 8,
        "head_dim": 16,
        "n_groups": 1,
        "chunk_size": 32,
        "expand": 2,
    },
    "mixtral": {**_GROUPED, "num_local_experts": 4},
    "modernbert-decoder": _SIZE,
    "nanochat": {**_SIZE, "num_key_value_heads": 4},
    "nemotron_h": {
        **_WIDE_HEADS,
        "num_hidden_layers": 3,
        "hybrid_override_pattern": "M*-",
        "mamba_num_heads": 8,
        "mamba_head_dim": 16,
        "ssm_state_size": 16,
        "n_groups": 1,
        "chunk_size": 32,
    },
    "olmo2": _SIZE,
    "olmoe": {**_SIZE, **_EXPERTS},
    "opt": {"hidden_size": 64, "word_embed_proj_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 128},
    "phi": _SIZE,
    "qwen3_moe": {**_WIDE_HEADS, **_EXPERTS, "moe_intermediate_size": 32},
    "qwen3_next": {
        **_WIDE_HEADS,
        **_EXPERTS,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32,
        "layer_types": ["linear_attention", "full_attention"],
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
    },
    "recurrent_gemma": {
        **_SIZE,
        "num_key_value_heads": 1,
        "lru_width": 64,
        "block_types": ["recurrent", "attention"],
        "attention_window_size": 32,
    },
    "rwkv": {"hidden_size": 64, "num_hidden_layers": 2, "attention_hidden_size": 64, "context_length": 64},
    "smollm3": _GROUPED,
}


def of(model_type: str) -> dict[str, Any]:
    """What `pretrain.with.architecture` says."""
    return {"model_type": model_type, **FIELDS[model_type]}
