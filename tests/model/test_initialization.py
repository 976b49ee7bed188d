"""Heads that look back: their attention before training."""

import math

import pytest
import torch
from torch.nn import functional as F

from tinyllm.model.config import ModelConfig
from tinyllm.model.initialization import init_weights, look_back
from tinyllm.model.transformer import Transformer, rotate

CONFIG = ModelConfig(d_model=128, num_heads=4, num_layers=2, d_ff=24, sequence_length=24)
TIED = CONFIG.model_copy(update={"tie_embeddings": True})
ONE_HEAD = CONFIG.model_copy(update={"d_model": 64, "num_heads": 1})
VOCAB = 50


def looking_back(config):
    model = Transformer(config, VOCAB).eval()
    init_weights(model, torch.Generator().manual_seed(3))
    look_back(model)
    return model


def attention(model, layer, tokens):
    """The attention of each head: [heads, time, time]."""
    config, block = model.config, model.blocks[layer]
    x = block.attention_norm(model.embedding(tokens[None]))
    qkv = block.attention.qkv_proj(x).view(1, len(tokens), 3, config.num_heads, config.head_dim)
    rotary = model.cosines, model.sines
    queries, keys = (
        rotate(F.rms_norm(qkv[:, :, which], (config.head_dim,), eps=config.norm_eps), rotary)
        for which in (0, 1)
    )
    scores = (queries.transpose(1, 2) @ keys.transpose(1, 2).mT)[0] / config.head_dim**0.5
    mask = torch.full((len(tokens), len(tokens)), -math.inf).triu(1)
    return torch.softmax(scores + mask, dim=-1)


@pytest.mark.parametrize("config", [CONFIG, TIED, ONE_HEAD])
@pytest.mark.parametrize("layer", [0, 1])
def test_each_head_attends_most_at_its_distance(config, layer):
    tokens = torch.randint(VOCAB, (24,), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        weights = attention(looking_back(config), layer, tokens)
    for head in range(config.num_heads):
        by_distance = torch.stack(
            [weights[head].diagonal(-distance)[8 - distance :].mean() for distance in range(8)]
        )
        assert by_distance.argmax() == head + 1
        assert by_distance[head + 1] > 3 / 24


def test_the_other_weights_are_unchanged():
    model, before = looking_back(CONFIG), Transformer(CONFIG, VOCAB)
    init_weights(before, torch.Generator().manual_seed(3))
    for (name, weight), (_, old) in zip(
        model.named_parameters(), before.named_parameters(), strict=True
    ):
        changed = name == "embedding.weight" or name.endswith("qkv_proj.weight")
        assert torch.equal(weight, old) == (not changed)
        assert torch.equal(weight[..., 1:], old[..., 1:]) or not changed
