"""The transformer: initialization, causality, shapes."""

import math

import pytest
import torch
from torch.nn import functional as F

from tinyllm.model.config import ModelConfig
from tinyllm.model.initialization import init_weights
from tinyllm.model.transformer import Transformer, rotary_tables, rotate, token_losses

VOCAB = 11
THETA = 10_000.0
CONFIG = ModelConfig(
    d_model=16, num_heads=2, num_layers=2, d_ff=24, sequence_length=12, dropout=0, rope_theta=THETA
)
TIED = CONFIG.model_copy(update={"tie_embeddings": True})


def initial(config, seed=0):
    model = Transformer(config, VOCAB)
    init_weights(model, torch.Generator().manual_seed(seed))
    return model


def scrambled(config):
    """A model without zero weights."""
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
        assert torch.equal(block(x, (model.cosines, model.sines)), x)


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


def test_state_holds_only_parameters():
    model = Transformer(CONFIG, VOCAB)
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}


def test_full_window_fits_and_one_more_does_not():
    model = scrambled(CONFIG)
    assert model(some_tokens(1, 12)).shape == (1, 12, VOCAB)
    with pytest.raises(ValueError, match="13 tokens exceed the window of 12"):
        model(some_tokens(1, 13))


def test_dropout_applies_only_in_training():
    model, tokens = scrambled(CONFIG.model_copy(update={"dropout": 0.5})), some_tokens()
    assert torch.equal(model(tokens), model(tokens))
    model.train()
    assert not torch.equal(model(tokens), model(tokens))


def test_every_weight_has_a_gradient():
    model = scrambled(CONFIG)
    model(some_tokens()).square().mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_token_losses_have_the_shape_of_the_targets():
    model, tokens = initial(CONFIG), some_tokens()
    losses = token_losses(model(tokens), tokens)
    assert losses.shape == tokens.shape == (3, 12)
    torch.testing.assert_close(losses, torch.full((3, 12), math.log(VOCAB)), rtol=1e-5, atol=1e-5)


def test_token_losses_are_those_of_each_token():
    tokens = some_tokens()
    logits = scrambled(CONFIG)(tokens)
    losses = token_losses(logits, tokens)
    for row, place in ((0, 0), (1, 7), (2, 11)):
        of_all = logits[row, place].double()
        expected = torch.logsumexp(of_all, 0) - of_all[tokens[row, place]]
        assert losses[row, place].item() == pytest.approx(expected.item(), rel=1e-5)


def turn(x):
    return rotate(x, rotary_tables(x.shape[1], x.shape[3], THETA))


def reference_turn(x):
    """With complex numbers, in double precision."""
    time, head_dim = x.shape[1], x.shape[3]
    rates = THETA ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.outer(torch.arange(time, dtype=torch.float64), rates)[:, None]
    halves = torch.complex(*x.double().chunk(2, dim=-1)) * torch.exp(1j * angles)
    return torch.cat((halves.real, halves.imag), dim=-1).to(x.dtype)


@pytest.mark.parametrize("shape", [(2, 9, 3, 8), (1, 1, 1, 2), (3, 40, 2, 6)])
def test_rotation_and_its_gradient_are_those_of_complex_numbers(shape):
    found = []
    for function in (turn, reference_turn):
        generator = torch.Generator().manual_seed(7)
        x = torch.randn(shape, generator=generator).requires_grad_()
        function(x).backward(torch.randn(shape, generator=generator))
        found.append((function(x).detach(), x.grad))
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


def test_rotary_tables_hold_unit_rotations_that_start_at_zero():
    cosines, sines = rotary_tables(50, 8, THETA)
    assert cosines.shape == sines.shape == (50, 1, 4)
    assert cosines[0, 0].tolist() == [1] * 4
    assert sines[0, 0].tolist() == [0] * 4
    torch.testing.assert_close(cosines**2 + sines**2, torch.ones(50, 1, 4), rtol=1e-6, atol=1e-6)
    assert sines[1, 0, 0].item() == pytest.approx(math.sin(1.0))
    assert sines[1, 0, 1].item() == pytest.approx(math.sin(0.1))


def test_rotated_products_depend_only_on_the_distance():
    query, key = torch.randn(2, 1, 1, 1, 8)
    queries = turn(query.expand(1, 20, 1, 8))[0, :, 0]
    keys = turn(key.expand(1, 20, 1, 8))[0, :, 0]
    products = queries @ keys.T
    for distance in range(1, 5):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-5)
    assert not torch.allclose(products[0, 0], products[0, 5], atol=1e-3)


def test_rotation_keeps_the_data_type():
    assert turn(torch.randn(1, 3, 2, 4).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("config", [CONFIG, TIED])
def test_the_model_equals_the_textbook_one(config):
    """Computed one head and one token at a time, in double precision."""
    model, tokens = scrambled(config), some_tokens(1, 9)[0]
    weights = {name: weight.double() for name, weight in model.state_dict().items()}
    width = config.head_dim

    def norm(x, scale):
        return x / (x.square().mean() + config.norm_eps).sqrt() * weights[f"{scale}.weight"]

    def turned(x, scale, place):
        return reference_turn(norm(x, scale).expand(1, place + 1, 1, width))[0, place, 0]

    stream = [weights["embedding.weight"][token] for token in tokens]
    for layer in range(config.num_layers):
        block = f"blocks.{layer}"
        qkv = [
            (
                weights[f"{block}.attention.qkv_proj.weight"] @ norm(x, f"{block}.attention_norm")
            ).view(3, config.num_heads, width)
            for x in stream
        ]
        mixed = []
        for place in range(len(stream)):
            heads = []
            for head in range(config.num_heads):
                query = turned(qkv[place][0, head], f"{block}.attention.q_norm", place)
                keys = torch.stack(
                    [
                        turned(qkv[back][1, head], f"{block}.attention.k_norm", back)
                        for back in range(place + 1)
                    ]
                )
                shares = torch.softmax(keys @ query / math.sqrt(width), dim=0)
                values = torch.stack([qkv[back][2, head] for back in range(place + 1)])
                heads.append(shares @ values)
            mixed.append(weights[f"{block}.attention.o_proj.weight"] @ torch.cat(heads))
        stream = [x + more for x, more in zip(stream, mixed, strict=True)]
        for place, x in enumerate(stream):
            hidden = weights[f"{block}.feed_forward.gate_up_proj.weight"] @ norm(
                x, f"{block}.feed_forward_norm"
            )
            gate, up = hidden.chunk(2)
            down = weights[f"{block}.feed_forward.down_proj.weight"]
            stream[place] = x + down @ (gate * torch.sigmoid(gate) * up)
    output = weights["embedding.weight" if config.tie_embeddings else "lm_head.weight"]
    expected = torch.stack([output @ norm(x, "norm") for x in stream])
    torch.testing.assert_close(model(tokens[None])[0].double(), expected, rtol=1e-4, atol=1e-4)
