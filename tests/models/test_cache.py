"""Reading through the cache, in pieces of any length, equals reading in one pass."""

import pytest
import torch

from tinyllm.config.model import ModelConfig
from tinyllm.models.cache import KeyValueCache
from tinyllm.models.transformer import Transformer

VOCAB, WINDOW = 11, 12
CONFIG = ModelConfig(d_model=16, num_heads=2, num_layers=2, d_ff=24, sequence_length=WINDOW)


@pytest.fixture
def model():
    result = Transformer(CONFIG, VOCAB).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in result.parameters():
            parameter.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.2, generator=generator)
    return result


def some_tokens(seed, batch=2):
    return torch.randint(VOCAB, (batch, WINDOW), generator=torch.Generator().manual_seed(seed))


def empty_cache(batch=2, dtype=torch.float32):
    return KeyValueCache(CONFIG, batch, torch.device("cpu"), dtype)


@torch.no_grad()
def read(model, tokens, lengths, cache):
    return torch.cat([model(piece, cache) for piece in tokens.split(lengths, dim=1)], dim=1)


@pytest.mark.parametrize(
    "lengths", [[12], [1] * 12, [5, 7], [1, 11], [11, 1], [3, 1, 1, 4, 3], [2, 2, 2, 2, 2, 2]]
)
def test_reading_in_pieces_equals_one_pass(model, lengths):
    tokens = some_tokens(3)
    with torch.no_grad():
        expected = model(tokens)
    in_pieces = read(model, tokens, lengths, empty_cache())
    torch.testing.assert_close(in_pieces, expected, rtol=1e-5, atol=1e-5)


def test_room_shrinks_with_each_piece(model):
    cache = empty_cache()
    assert (cache.length, cache.room) == (0, WINDOW)
    read(model, some_tokens(3)[:, :9], [4, 5], cache)
    assert (cache.length, cache.room) == (9, 3)


def test_cleared_cache_remembers_nothing(model):
    cache = empty_cache()
    read(model, some_tokens(3), [6, 6], cache)
    cache.clear()
    assert cache.room == WINDOW
    tokens = some_tokens(4)
    fresh = read(model, tokens, [5, 1, 6], empty_cache())
    assert torch.equal(read(model, tokens, [5, 1, 6], cache), fresh)


def test_full_cache_refuses_another_character(model):
    cache = empty_cache()
    read(model, some_tokens(3), [12], cache)
    with pytest.raises(ValueError, match="13 characters exceed the window of 12"):
        model(some_tokens(3)[:, :1], cache)
    assert cache.length == WINDOW


def test_cache_holds_keys_and_values_of_every_layer(model):
    cache = empty_cache(batch=3)
    shape = (CONFIG.num_layers, 3, CONFIG.num_heads, WINDOW, CONFIG.head_dim)
    assert cache.keys.shape == cache.values.shape == shape
    read(model, some_tokens(3, batch=3)[:, :7], [7], cache)
    for stored in (cache.keys, cache.values):
        assert stored[:, :, :, :7].abs().amin(dim=(-1, -2)).max() > 0
        assert not stored[:, :, :, 7:].any()
        assert not torch.equal(stored[0], stored[1])


def test_cache_keeps_the_precision_asked_for():
    assert empty_cache(dtype=torch.bfloat16).keys.dtype == torch.bfloat16
