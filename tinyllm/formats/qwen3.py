"""The weights in Hugging Face's Qwen3 layout, and back, without changing a bit.

The model is the same, but names differ, and Qwen3 separates queries, keys and values, and gate and
up projections.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tinyllm.formats.tokenizer_json import special_token
from tinyllm.model.config import ModelConfig
from tinyllm.tokens.tokenizer import Tokenizer

_NAMES = (
    ("attention_norm", "input_layernorm"),
    ("attention.o_proj", "self_attn.o_proj"),
    ("attention.q_norm", "self_attn.q_norm"),
    ("attention.k_norm", "self_attn.k_norm"),
    ("feed_forward_norm", "post_attention_layernorm"),
    ("feed_forward.down_proj", "mlp.down_proj"),
)
_FUSED = (
    ("attention.qkv_proj", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
    ("feed_forward.gate_up_proj", ("mlp.gate_proj", "mlp.up_proj")),
)


def to_huggingface(weights: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Rename and split the weights of a `Transformer` for `Qwen3ForCausalLM`."""
    result = {theirs: weights[ours] for ours, theirs in _outer_names(config)}
    for layer in range(config.num_layers):
        ours, theirs = f"blocks.{layer}", f"model.layers.{layer}"
        for source, target in _NAMES:
            result[f"{theirs}.{target}.weight"] = weights[f"{ours}.{source}.weight"]
        for source, targets in _FUSED:
            parts = weights[f"{ours}.{source}.weight"].chunk(len(targets))
            for target, part in zip(targets, parts, strict=True):
                result[f"{theirs}.{target}.weight"] = part
    return {name: tensor.contiguous() for name, tensor in result.items()}


def from_huggingface(weights: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Undo `to_huggingface`.

    Raises:
        KeyError: a weight is missing.
    """
    result = {ours: weights[theirs] for ours, theirs in _outer_names(config)}
    for layer in range(config.num_layers):
        ours, theirs = f"blocks.{layer}", f"model.layers.{layer}"
        for target, source in _NAMES:
            result[f"{ours}.{target}.weight"] = weights[f"{theirs}.{source}.weight"]
        for target, sources in _FUSED:
            parts = [weights[f"{theirs}.{source}.weight"] for source in sources]
            result[f"{ours}.{target}.weight"] = torch.cat(parts)
    return result


def huggingface_config(config: ModelConfig, tokenizer: Tokenizer) -> dict[str, Any]:
    """The `config.json` of `Qwen3ForCausalLM`.

    Versions 4 and 5 of transformers each ignore one of the two ways to give the rotary base and
    the data type, so both are given.
    """
    special, _ = special_token(tokenizer)
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": tokenizer.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.sequence_length,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "attention_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": config.tie_embeddings,
        "use_cache": True,
        # beyond the window attention slides, as it does in KeyValueCache
        "use_sliding_window": True,
        "sliding_window": config.sequence_length,
        "layer_types": ["sliding_attention"] * config.num_layers,
        "max_window_layers": config.num_layers,
        "bos_token_id": special,
        "eos_token_id": special,
        # the tokenizer names it; here it would keep that token from being trained further
        "pad_token_id": None,
        "dtype": "float32",
        "torch_dtype": "float32",
    }


def config_from_huggingface(description: Mapping[str, Any]) -> ModelConfig:
    """The model's shape from a `config.json` that `huggingface_config` made.

    Raises:
        KeyError: an entry is missing.
    """
    return ModelConfig(
        d_model=description["hidden_size"],
        num_heads=description["num_attention_heads"],
        num_layers=description["num_hidden_layers"],
        d_ff=description["intermediate_size"],
        sequence_length=description["max_position_embeddings"],
        dropout=0.0,
        rope_theta=description["rope_theta"],
        norm_eps=description["rms_norm_eps"],
        tie_embeddings=description["tie_word_embeddings"],
    )


def _outer_names(config: ModelConfig) -> list[tuple[str, str]]:
    names = [
        ("embedding.weight", "model.embed_tokens.weight"),
        ("norm.weight", "model.norm.weight"),
    ]
    return names if config.tie_embeddings else [*names, ("lm_head.weight", "lm_head.weight")]
