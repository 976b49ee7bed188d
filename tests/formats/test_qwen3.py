"""The Hugging Face layout: lossless both ways, and Qwen3 computes the same from it."""

import json

import pytest
import torch
from torch.nn import functional as F

from tinyllm.formats.qwen3 import (
    config_from_huggingface,
    from_huggingface,
    huggingface_config,
    to_huggingface,
)
from tinyllm.model.config import ModelConfig
from tinyllm.model.transformer import Transformer
from tinyllm.tokens.characters import CharacterTokenizer

TOKENIZER = CharacterTokenizer("abcdefghijkl")
VOCAB = TOKENIZER.vocab_size
UNTIED = ModelConfig(
    d_model=24, num_heads=3, num_layers=2, d_ff=40, sequence_length=16, dropout=0, rope_theta=500.0
)
TIED = UNTIED.model_copy(update={"tie_embeddings": True})
both = pytest.mark.parametrize("config", [UNTIED, TIED], ids=["untied", "tied"])


def scrambled(config):
    """A model without zero weights."""
    model = Transformer(config, VOCAB).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.2, generator=generator)
    return model


def qwen3(config, weights, attention):
    from transformers import Qwen3Config, Qwen3ForCausalLM

    settings = Qwen3Config(**huggingface_config(config, TOKENIZER))
    settings._attn_implementation = attention
    model = Qwen3ForCausalLM(settings).eval()
    converted = to_huggingface(weights, config)
    if config.tie_embeddings:
        # the file leaves it out, the module lists it
        converted["lm_head.weight"] = converted["model.embed_tokens.weight"]
    model.load_state_dict(converted, strict=True)
    return model


def some_tokens():
    return torch.randint(VOCAB, (3, 16), generator=torch.Generator().manual_seed(2))


@both
def test_round_trip_changes_no_bit(config):
    weights = scrambled(config).state_dict()
    back = from_huggingface(to_huggingface(weights, config), config)
    assert set(back) == set(weights)
    for name, tensor in weights.items():
        assert torch.equal(back[name], tensor), name


@both
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_qwen3_gives_the_same_logits(config, attention):
    ours = scrambled(config)
    theirs = qwen3(config, ours.state_dict(), attention)
    with torch.no_grad():
        expected = ours(some_tokens())
        logits = theirs(some_tokens()).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


def test_qwen3_gives_the_same_gradients():
    ours = scrambled(UNTIED)
    theirs = qwen3(UNTIED, ours.state_dict(), "eager")
    for logits in (ours(some_tokens()), theirs(some_tokens()).logits):
        F.cross_entropy(logits[:, :-1].flatten(0, 1), some_tokens()[:, 1:].flatten()).backward()
    converted = to_huggingface({name: p.grad for name, p in ours.named_parameters()}, UNTIED)
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(parameter.grad, converted[name], rtol=1e-4, atol=1e-5)


@both
def test_tied_weights_leave_out_the_output_layer(config):
    names = to_huggingface(scrambled(config).state_dict(), config)
    assert ("lm_head.weight" in names) is not config.tie_embeddings


def test_converted_weights_are_contiguous():
    converted = to_huggingface(scrambled(UNTIED).state_dict(), UNTIED)
    assert all(tensor.is_contiguous() for tensor in converted.values())


def test_fused_weights_are_split_in_order():
    weights = scrambled(UNTIED).state_dict()
    weights["blocks.1.attention.qkv_proj.weight"] = torch.arange(72.0)[:, None].expand(72, 24)
    weights["blocks.1.feed_forward.gate_up_proj.weight"] = torch.arange(80.0)[:, None].expand(
        80, 24
    )
    converted = to_huggingface(weights, UNTIED)
    firsts = {
        name: converted[f"model.layers.1.{name}.weight"][:, 0].tolist()
        for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    }
    assert list(firsts.values()) == [list(range(i, i + 24)) for i in (0, 24, 48)]
    assert converted["model.layers.1.mlp.gate_proj.weight"][:, 0].tolist() == list(range(40))
    assert converted["model.layers.1.mlp.up_proj.weight"][:, 0].tolist() == list(range(40, 80))


@both
def test_shape_survives_the_config_file(config):
    description = json.loads(json.dumps(huggingface_config(config, TOKENIZER)))
    assert config_from_huggingface(description) == config
    assert description["vocab_size"] == VOCAB


def test_missing_weight_is_named():
    converted = to_huggingface(scrambled(UNTIED).state_dict(), UNTIED)
    del converted["model.layers.1.mlp.up_proj.weight"]
    with pytest.raises(KeyError, match=r"model\.layers\.1\.mlp\.up_proj\.weight"):
        from_huggingface(converted, UNTIED)


def test_missing_config_entry_is_named():
    description = huggingface_config(UNTIED, TOKENIZER)
    del description["hidden_size"]
    with pytest.raises(KeyError, match="hidden_size"):
        config_from_huggingface(description)
