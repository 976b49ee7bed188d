"""The transformer: its start, its causality, its shape."""

import math

import pytest
import torch
from torch.nn import functional as F

from tinyllm.model.config import ModelConfig
from tinyllm.model.transformer import RMSNorm, Transformer

VOCAB = 11
CONFIG = ModelConfig(d_model=16, num_heads=2, num_layers=2, d_ff=24, sequence_length=12, dropout=0)
TIED = CONFIG.model_copy(update={"tie_embeddings": True})


def initial(config, seed=0):
    model = Transformer(config, VOCAB)
    model.init_weights(torch.Generator().manual_seed(seed))
    return model


def scrambled(config):
    """A model none of whose weights is zero."""
    model = Transformer(config, VOCAB).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.2, generator=generator)
    return model


def some_tokens(batch=3, time=12):
    return torch.randint(VOCAB, (batch, time), generator=torch.Generator().manual_seed(2))


def test_loss_starts_at_log_vocab():
    tokens = some_tokens()
    logits = initial(CONFIG)(tokens)
    assert logits.shape == (3, 12, VOCAB)
    loss = F.cross_entropy(logits.flatten(0, 1), tokens.flatten())
    assert loss.item() == pytest.approx(math.log(VOCAB), abs=1e-6)


def test_loss_of_tied_embeddings_starts_near_log_vocab():
    logits = initial(TIED)(some_tokens())
    following = (some_tokens().flatten() + 1) % VOCAB
    loss = F.cross_entropy(logits.flatten(0, 1), following)
    assert loss.item() == pytest.approx(math.log(VOCAB), abs=0.1)
    assert logits.abs().max() > 0


def test_every_block_starts_as_the_identity():
    model = initial(CONFIG)
    x = torch.randn(2, 12, 16)
    for block in model.blocks:
        assert torch.equal(block(x, (model.cosines, model.sines), model.mask, None), x)


@pytest.mark.parametrize("config", [CONFIG, TIED])
def test_seed_decides_the_initial_weights(config):
    first, again, other = (initial(config, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["embedding.weight"], other["embedding.weight"])


def test_matrices_start_uniform_with_variance_of_a_third_of_the_inputs():
    weight = initial(CONFIG).state_dict()["blocks.0.attention.qkv_proj.weight"]
    assert weight.abs().max() <= 1 / math.sqrt(16)
    assert weight.var().item() == pytest.approx(1 / (3 * 16), rel=0.15)


def test_initial_embedding_is_small_only_where_it_is_the_output_layer():
    assert initial(CONFIG).embedding.weight.std().item() == pytest.approx(1.0, rel=0.2)
    assert initial(TIED).embedding.weight.std().item() == pytest.approx(0.02, rel=0.2)


@pytest.mark.parametrize("config", [CONFIG, TIED])
@pytest.mark.parametrize("place", [1, 6, 11])
def test_later_character_changes_no_earlier_logit(config, place):
    model, tokens = scrambled(config), some_tokens()
    changed = tokens.clone()
    changed[:, place] = (changed[:, place] + 1) % VOCAB
    before, after = model(tokens), model(changed)
    assert torch.equal(before[:, :place], after[:, :place])
    assert not torch.equal(before[:, place], after[:, place])


def test_earlier_character_changes_later_logits():
    model, tokens = scrambled(CONFIG), some_tokens()
    changed = tokens.clone()
    changed[:, 0] = (changed[:, 0] + 1) % VOCAB
    assert not torch.allclose(model(tokens)[:, -1], model(changed)[:, -1], atol=1e-4)


def test_order_of_characters_matters():
    model = scrambled(CONFIG)
    forth, back = torch.tensor([[1, 2, 3]]), torch.tensor([[2, 1, 3]])
    assert not torch.allclose(model(forth)[:, -1], model(back)[:, -1], atol=1e-4)


def test_rows_of_a_batch_do_not_mix():
    model, tokens = scrambled(CONFIG), some_tokens()
    torch.testing.assert_close(model(tokens)[1:2], model(tokens[1:2]), rtol=1e-5, atol=1e-5)


def test_tied_embeddings_have_no_output_layer():
    model = Transformer(TIED, VOCAB)
    assert model.lm_head is None
    assert not any(name.startswith("lm_head") for name in model.state_dict())
    assert "lm_head.weight" in Transformer(CONFIG, VOCAB).state_dict()


@pytest.mark.parametrize("config", [CONFIG, TIED])
def test_number_of_parameters(config):
    d, f = config.d_model, config.d_ff
    block = 3 * d * d + d * d + 2 * config.head_dim + 2 * d * f + f * d + 2 * d
    embeddings = VOCAB * d * (1 if config.tie_embeddings else 2)
    expected = config.num_layers * block + embeddings + d
    assert Transformer(config, VOCAB).num_parameters() == expected


def test_state_holds_parameters_alone():
    model = Transformer(CONFIG, VOCAB)
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}


def test_full_window_fits_and_one_more_does_not():
    model = scrambled(CONFIG)
    assert model(some_tokens(1, 12)).shape == (1, 12, VOCAB)
    with pytest.raises(ValueError, match="13 tokens exceed the window of 12"):
        model(some_tokens(1, 13))


def test_dropout_acts_in_training_alone():
    model, tokens = scrambled(CONFIG.model_copy(update={"dropout": 0.5})), some_tokens()
    assert torch.equal(model(tokens), model(tokens))
    model.train()
    assert not torch.equal(model(tokens), model(tokens))


def test_every_weight_has_a_gradient():
    model = scrambled(CONFIG)
    model(some_tokens()).square().mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_rms_norm_divides_by_the_root_mean_square():
    norm = RMSNorm(8, 1e-6)
    with torch.no_grad():
        norm.weight.fill_(3.0)
    x = torch.randn(4, 8)
    expected = 3 * x / x.square().mean(-1, keepdim=True).sqrt()
    torch.testing.assert_close(norm(x), expected, rtol=1e-4, atol=1e-5)
