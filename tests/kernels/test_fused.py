"""The plain transformer is the oracle of the fused one: the same function, the same gradients."""

import pytest
import torch
from torch.nn import functional as F

from tinyllm.inference.cache import KeyValueCache
from tinyllm.kernels import attention, functional
from tinyllm.kernels.arithmetic import Arithmetic
from tinyllm.kernels.fused import FusedTransformer
from tinyllm.kernels.products import Bfloat16Products, OnednnProducts, Products
from tinyllm.model.config import ModelConfig
from tinyllm.model.initialization import init_weights
from tinyllm.model.transformer import Transformer

CPU, VOCAB = torch.device("cpu"), 11
ARITHMETICS = {
    "portable": Arithmetic(CPU, torch.float32, portable=True, products=OnednnProducts(check=True)),
    "fast": Arithmetic(CPU, torch.float32, portable=False, products=OnednnProducts(check=False)),
    "fast by MKL": Arithmetic(CPU, torch.float32, portable=False, products=Products()),
}
in_every_arithmetic = pytest.mark.parametrize("kind", ARITHMETICS)
# width, heads, layers, feed-forward width, window, tied; batch and time of the tokens
SHAPES = {
    "small": ((16, 2, 2, 24, 12, False), (3, 12)),
    "tied": ((16, 2, 2, 24, 12, True), (3, 12)),
    "one head": ((32, 1, 1, 64, 32, False), (2, 32)),
    "heads of two": ((8, 4, 1, 5, 9, True), (4, 9)),
    "odd length": ((24, 3, 2, 7, 33, False), (5, 31)),
    "one token": ((16, 2, 1, 24, 8, True), (1, 1)),
    "one row": ((12, 2, 3, 9, 17, False), (1, 17)),
    "long sums": ((600, 4, 1, 530, 9, False), (2, 9)),
    "wide heads": ((256, 2, 1, 96, 40, True), (2, 37)),
    "several blocks of queries": ((16, 2, 1, 24, 300, False), (2, 290)),
}
SMALL = SHAPES["small"]


def pair_of(shape, arithmetic, dropout=0.0):
    """The fused and the plain model, with the same weights, none of them zero."""
    width, heads, layers, d_ff, window, tied = shape
    config = ModelConfig(
        d_model=width,
        num_heads=heads,
        num_layers=layers,
        d_ff=d_ff,
        sequence_length=window,
        tie_embeddings=tied,
        dropout=dropout,
    )
    plain, fused = Transformer(config, VOCAB), FusedTransformer(config, VOCAB, arithmetic)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in plain.parameters():
            # as large as after some training: a block adds about as much as its input
            mean, deviation = (1.0, 0.3) if parameter.ndim == 1 else (0.0, width**-0.5)
            parameter.normal_(mean, deviation, generator=generator)
    fused.load_state_dict(plain.state_dict())
    return fused, plain


def results_of(model, tokens, targets):
    """Logits and, by name, the gradients of all weights; dropout is drawn from one seed."""
    torch.manual_seed(5)
    logits = model(tokens)
    F.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {"logits": logits.detach(), **gradients}


def compare(case, arithmetic, dropout=0.0):
    """Check that the two models agree on logits and on all gradients.

    Raises:
        AssertionError: they do not.
    """
    shape, (batch, time) = case
    fused, plain = pair_of(shape, arithmetic, dropout)
    generator = torch.Generator().manual_seed(2)
    tokens, targets = torch.randint(VOCAB, (2, batch, time), generator=generator)
    ours, expected = (results_of(model.train(), tokens, targets) for model in (fused, plain))
    assert ours.keys() == expected.keys()
    assert len(ours) == 1 + len(list(plain.parameters()))
    for name, value in expected.items():
        largest = value.abs().max().item()
        # a single token attends only to itself, whatever queries and keys are
        assert largest > 0 or (time == 1 and name.endswith(("q_norm.weight", "k_norm.weight")))
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=2e-5 * max(largest, 1e-2))


@in_every_arithmetic
@pytest.mark.parametrize("case", SHAPES.values(), ids=SHAPES)
def test_the_fused_model_computes_what_the_plain_one_does(case, kind):
    compare(case, ARITHMETICS[kind])


@in_every_arithmetic
@pytest.mark.parametrize("name", ["small", "tied", "odd length", "one token", "wide heads"])
def test_they_agree_with_dropout_from_the_same_seed(name, kind):
    compare(SHAPES[name], ARITHMETICS[kind], dropout=0.3)


@pytest.mark.parametrize("case", SHAPES.values(), ids=SHAPES)
def test_in_bfloat16_each_gradient_points_where_the_plain_model_says(case):
    shape, (batch, time) = case
    rounding = Arithmetic(CPU, torch.bfloat16, portable=False, products=Bfloat16Products())
    fused, plain = pair_of(shape, rounding)
    generator = torch.Generator().manual_seed(2)
    tokens, targets = torch.randint(VOCAB, (2, batch, time), generator=generator)
    ours, expected = (results_of(model.train(), tokens, targets) for model in (fused, plain))
    for name, value in expected.items():
        assert ours[name].dtype == torch.float32
        if value.abs().max() > 0:
            assert F.cosine_similarity(ours[name].flatten(), value.flatten(), dim=0) > 0.7, name
    assert not torch.equal(ours["logits"], expected["logits"])
    torch.testing.assert_close(fused.eval()(tokens), plain.eval()(tokens), rtol=1e-4, atol=1e-4)


def test_dropout_changes_what_both_compute():
    fused, plain = pair_of(SMALL[0], ARITHMETICS["portable"], dropout=0.3)
    tokens = torch.randint(VOCAB, (3, 12))
    for model in (fused, plain):
        assert not torch.allclose(model.train()(tokens), model.eval()(tokens), atol=1e-2)


@in_every_arithmetic
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("pieces", [(5,), (1, 1, 1), (7, 1, 1, 8, 1), (12, 1, 1, 12, 3)])
def test_they_agree_with_a_cache(pieces, tied, kind):
    shape = (*SMALL[0][:-1], tied)
    models = [model.eval() for model in pair_of(shape, ARITHMETICS[kind])]
    caches = [KeyValueCache(model.config, 3, CPU, torch.float32) for model in models]
    generator = torch.Generator().manual_seed(3)
    for count in pieces:
        tokens = torch.randint(VOCAB, (3, count), generator=generator)
        with torch.no_grad():
            ours, expected = (m(tokens, c) for m, c in zip(models, caches, strict=True))
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(caches[0].keys, caches[1].keys, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(caches[0].values, caches[1].values, rtol=1e-4, atol=1e-4)


def changed(name, change):
    """A fault in the result of a module's function."""
    module = attention if hasattr(attention, name) else functional

    def plant(patch):
        right = getattr(module, name)
        patch.setattr(module, name, lambda *args, **kwargs: change(right(*args, **kwargs)))

    return plant


def in_arithmetic(name, change):
    def plant(patch):
        right = getattr(Arithmetic, name)
        patch.setattr(Arithmetic, name, lambda *args, **kwargs: change(right(*args, **kwargs)))

    return plant


def never_turned_back(patch):
    right = attention._rotate

    def rotate(*args, sign=1):
        right(*args, sign=1)

    patch.setattr(attention, "_rotate", rotate)


def wrong_sign_behind_the_norm(patch):
    right = Arithmetic.add_product
    patch.setattr(Arithmetic, "add_product", lambda *args, sign=1: right(*args, sign=1))


FAULTS = {
    "sign of a weight's gradient": changed("_weight_gradient", lambda grad: -grad),
    "a weight's gradient off by a thousandth": changed("_weight_gradient", lambda g: g * 1.001),
    "sign before the norm": changed("_grad_before_norm", lambda grad: -grad),
    "scale of the norm": changed("_inverse_rms", lambda inverse: inverse * 1.001),
    "queries and keys swapped": changed("_attend_backward", lambda g: [g[1], g[0], g[2]]),
    "sign of the values' gradient": changed("_attend_backward", lambda g: [g[0], g[1], -g[2]]),
    "rotated on instead of back": never_turned_back,
    "signs of all sums": wrong_sign_behind_the_norm,
    "gate and up swapped": in_arithmetic("swiglu_backward", lambda g: (g[1], g[0])),
    "sign of the gate's gradient": in_arithmetic("swiglu_backward", lambda g: (-g[0], g[1])),
}


@in_every_arithmetic
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_the_comparison_finds_a_planted_fault(fault, kind, monkeypatch):
    compare(SMALL, ARITHMETICS[kind])
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        compare(SMALL, ARITHMETICS[kind])


def test_the_comparison_finds_a_block_that_sees_the_future(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "triu", lambda self, _: torch.zeros_like(self))
    with pytest.raises(AssertionError):
        compare(SMALL, ARITHMETICS["portable"])


@in_every_arithmetic
@pytest.mark.parametrize("place", [1, 6, 11])
def test_a_later_token_changes_no_bit_of_an_earlier_logit(place, kind):
    model, _ = pair_of(SMALL[0], ARITHMETICS[kind])
    tokens = torch.randint(VOCAB, (3, 12), generator=torch.Generator().manual_seed(2))
    other = tokens.clone()
    other[:, place] = (other[:, place] + 1) % VOCAB
    with torch.no_grad():
        before, after = model.eval()(tokens), model(other)
    assert torch.equal(before[:, :place], after[:, :place])
    assert not torch.equal(before[:, place], after[:, place])


@in_every_arithmetic
@pytest.mark.parametrize("tied", [True, False])
def test_every_fused_block_starts_as_the_identity_and_the_loss_at_log_vocab(tied, kind):
    model, _ = pair_of((*SMALL[0][:-1], tied), ARITHMETICS[kind])
    init_weights(model, torch.Generator().manual_seed(0))
    x = torch.randn(2, 12, 16)
    for block in model.blocks:
        assert torch.equal(block(x, (model.cosines, model.sines)), x)
    if not tied:
        assert not model(torch.randint(VOCAB, (3, 12))).any()


def test_more_tokens_than_the_window_holds_are_refused():
    for model in pair_of(SMALL[0], ARITHMETICS["portable"]):
        with pytest.raises(ValueError, match="13 tokens exceed the window of 12"):
            model(torch.zeros(1, 13, dtype=torch.int64))


def test_the_fused_model_holds_only_parameters():
    model, _ = pair_of(SMALL[0], ARITHMETICS["portable"])
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}
