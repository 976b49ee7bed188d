"""The weights in Hugging Face's Qwen3 layout, and back, without changing a bit of any number.

Two things differ. Qwen3 keeps queries, keys, values, gate and up projections apart, and its
rotary embedding pairs dimension i with i + head_dim / 2 where ours pairs neighbours (one complex
product). Reordering the rows of the query and key weights, and their norms, turns one into the
other: attention is a sum over dimensions, whatever their order.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tinyllm.config.model import ModelConfig

_NORMS = (
    ("attention_norm", "input_layernorm"),
    ("feed_forward_norm", "post_attention_layernorm"),
)
_PROJECTIONS = (
    ("attention.o_proj", "self_attn.o_proj"),
    ("feed_forward.down_proj", "mlp.down_proj"),
)


def to_huggingface(weights: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Rename, split and reorder the weights of a `Transformer` for `Qwen3ForCausalLM`."""
    order = _half_order(config.head_dim)
    result = {
        "model.embed_tokens.weight": weights["embedding.weight"],
        "model.norm.weight": weights["norm.weight"],
    }
    if not config.tie_embeddings:
        result["lm_head.weight"] = weights["lm_head.weight"]
    for layer in range(config.num_layers):
        ours, theirs = f"blocks.{layer}", f"model.layers.{layer}"
        for source, target in (*_NORMS, *_PROJECTIONS):
            result[f"{theirs}.{target}.weight"] = weights[f"{ours}.{source}.weight"]
        q, k, v = weights[f"{ours}.attention.qkv_proj.weight"].chunk(3)
        result[f"{theirs}.self_attn.q_proj.weight"] = _reorder(q, order, config)
        result[f"{theirs}.self_attn.k_proj.weight"] = _reorder(k, order, config)
        result[f"{theirs}.self_attn.v_proj.weight"] = v
        for norm in ("q_norm", "k_norm"):
            scale = weights[f"{ours}.attention.{norm}.weight"]
            result[f"{theirs}.self_attn.{norm}.weight"] = scale[order]
        gate, up = weights[f"{ours}.feed_forward.gate_up_proj.weight"].chunk(2)
        result[f"{theirs}.mlp.gate_proj.weight"] = gate
        result[f"{theirs}.mlp.up_proj.weight"] = up
    return {name: tensor.contiguous() for name, tensor in result.items()}


def from_huggingface(weights: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Undo `to_huggingface`.

    Raises:
        KeyError: a weight is missing.

    """
    order = torch.argsort(_half_order(config.head_dim))
    result = {
        "embedding.weight": weights["model.embed_tokens.weight"],
        "norm.weight": weights["model.norm.weight"],
    }
    if not config.tie_embeddings:
        result["lm_head.weight"] = weights["lm_head.weight"]
    for layer in range(config.num_layers):
        ours, theirs = f"blocks.{layer}", f"model.layers.{layer}"
        for target, source in (*_NORMS, *_PROJECTIONS):
            result[f"{ours}.{target}.weight"] = weights[f"{theirs}.{source}.weight"]
        q = _reorder(weights[f"{theirs}.self_attn.q_proj.weight"], order, config)
        k = _reorder(weights[f"{theirs}.self_attn.k_proj.weight"], order, config)
        v = weights[f"{theirs}.self_attn.v_proj.weight"]
        result[f"{ours}.attention.qkv_proj.weight"] = torch.cat((q, k, v))
        for norm in ("q_norm", "k_norm"):
            scale = weights[f"{theirs}.self_attn.{norm}.weight"]
            result[f"{ours}.attention.{norm}.weight"] = scale[order]
        gate_up = (weights[f"{theirs}.mlp.{name}_proj.weight"] for name in ("gate", "up"))
        result[f"{ours}.feed_forward.gate_up_proj.weight"] = torch.cat(tuple(gate_up))
    return result


def huggingface_config(config: ModelConfig, vocab_size: int) -> dict[str, Any]:
    """The `config.json` of `Qwen3ForCausalLM`.

    Versions 4 and 5 of transformers each ignore one of the two ways to give the rotary base and
    the data type, so both stand there.
    """
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": vocab_size,
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
        "use_sliding_window": False,
        "bos_token_id": None,
        "eos_token_id": None,
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


def _half_order(head_dim: int) -> Tensor:
    """Which of our dimensions stands at each place of Qwen3's: the even ones, then the odd."""
    places = torch.arange(head_dim)
    return torch.cat((places[0::2], places[1::2]))


def _reorder(weight: Tensor, order: Tensor, config: ModelConfig) -> Tensor:
    heads = weight.view(config.num_heads, config.head_dim, -1)
    return heads[:, order].reshape(weight.shape)
