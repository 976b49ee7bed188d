"""The fused functions equal torch's own, and do not depend on the number of threads."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from tinyllm.kernels.arithmetic import Arithmetic
from tinyllm.kernels.attention import causal_attention
from tinyllm.kernels.functional import linear, linear_add, norm_linear, norm_swiglu
from tinyllm.kernels.products import OnednnProducts, Products
from tinyllm.model.transformer import rotary_tables, rotate

THETA = 10_000.0


def arithmetic_of(*, portable, products):
    return Arithmetic(torch.device("cpu"), torch.float32, portable=portable, products=products)


ARITHMETICS = {
    "portable": arithmetic_of(portable=True, products=OnednnProducts(check=True)),
    "fast": arithmetic_of(portable=False, products=OnednnProducts(check=False)),
    "fast by MKL": arithmetic_of(portable=False, products=Products()),
}
in_every_arithmetic = pytest.mark.parametrize("kind", ARITHMETICS)


@pytest.fixture
def set_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def norm_of(scale):
    return SimpleNamespace(weight=scale, eps=1e-6)


def causal_mask(time):
    return torch.full((time, time), -math.inf).triu(1)


def attend(qkv, scales, arithmetic):
    rotary = rotary_tables(qkv.shape[1], qkv.shape[-1], THETA)
    return causal_attention(qkv, scales, rotary, causal_mask(qkv.shape[1]), 1e-6, arithmetic)


def reference_attention(qkv, scales):
    width, (cosines, sines) = qkv.shape[-1], rotary_tables(qkv.shape[1], qkv.shape[-1], THETA)

    def turned(x, scale):
        first, second = F.rms_norm(x, (width,), scale, 1e-6).chunk(2, dim=-1)
        halves = (first * cosines - second * sines, first * sines + second * cosines)
        return torch.cat(halves, dim=-1).transpose(1, 2)

    queries, keys, values = qkv.unbind(2)
    q, k = turned(queries, scales[0]), turned(keys, scales[1])
    scores = q @ k.mT / math.sqrt(width) + causal_mask(qkv.shape[1])
    return (scores.softmax(dim=-1) @ values.transpose(1, 2)).transpose(1, 2)


def norm_then_linear(x, scale, weight, arithmetic):
    return norm_linear(x, norm_of(scale), weight, arithmetic, features_first=False)


def norm_then_linear_features_first(x, scale, weight, arithmetic):
    return norm_linear(x, norm_of(scale), weight, arithmetic, features_first=True)


def reference_norm_linear(x, scale, weight):
    return F.linear(F.rms_norm(x, scale.shape, scale, 1e-6), weight)


def reference_linear_add(x, weight, residual):
    return F.linear(x, weight) + residual


def norm_then_swiglu(x, scale, weight, arithmetic):
    return norm_swiglu(x, norm_of(scale), weight, arithmetic)


def reference_swiglu(x, scale, weight):
    gate, up = reference_norm_linear(x, scale, weight).chunk(2, dim=-1)
    return F.silu(gate) * up


def turn(x, _arithmetic):
    return rotate(x, rotary_tables(x.shape[1], x.shape[3], THETA))


PAIRS = {
    "linear": (linear, F.linear),
    "attention": (attend, reference_attention),
    "linear_add": (linear_add, reference_linear_add),
    "norm_linear": (norm_then_linear, reference_norm_linear),
    "norm_linear_features_first": (norm_then_linear_features_first, reference_norm_linear),
    "norm_swiglu": (norm_then_swiglu, reference_swiglu),
    "rotate": (turn, None),
}
SMALL_SHAPES = [
    ("linear", ((3, 7, 24), (10, 24))),
    ("linear", ((5, 3), (1, 3))),
    ("attention", ((2, 13, 3, 2, 8), (2, 8))),
    ("attention", ((1, 1, 3, 1, 2), (2, 2))),
    ("attention", ((1, 9, 3, 4, 6), (2, 6))),
    ("linear_add", ((3, 7, 24), (10, 24), (3, 7, 10))),
    ("linear_add", ((2, 5, 10), (24, 10), (2, 5, 24))),
    ("norm_linear", ((3, 7, 24), (24,), (10, 24))),
    ("norm_linear", ((3, 7, 10), (10,), (24, 10))),
    ("norm_linear", ((5, 1), (1,), (3, 1))),
    ("norm_linear_features_first", ((3, 7, 24), (24,), (10, 24))),
    ("norm_linear_features_first", ((3, 7, 10), (10,), (24, 10))),
    ("norm_swiglu", ((3, 7, 24), (24,), (34, 24))),
]
# elementwise work is split between threads only above 32768 elements
LARGE_SHAPES = [
    ("linear", ((8, 128, 64), (192, 64)), (1, 2, 4)),
    ("linear", ((3, 37, 50), (33, 50)), (1, 2, 4)),
    ("attention", ((6, 64, 3, 4, 16), (2, 16)), (1, 2, 4)),
    ("attention", ((6, 50, 3, 4, 18), (2, 18)), (1, 2, 4)),
    ("attention", ((1, 127, 3, 2, 64), (2, 64)), (1, 2, 3, 4, 8)),
    ("attention", ((3, 256, 3, 2, 64), (2, 64)), (1, 2, 3, 4)),
    ("linear_add", ((8, 128, 64), (192, 64), (8, 128, 192)), (1, 2, 4)),
    ("linear_add", ((3, 37, 150), (33, 150), (3, 37, 33)), (1, 2, 3, 4)),
    ("norm_linear", ((16, 128, 128), (128,), (384, 128)), (1, 2, 3, 4, 8)),
    ("norm_linear", ((7, 127, 99), (99,), (50, 99)), (1, 2, 3, 4, 8)),
    ("norm_linear_features_first", ((7, 127, 99), (99,), (50, 99)), (1, 2, 3, 4, 8)),
    ("norm_swiglu", ((8, 128, 48), (48,), (202, 48)), (1, 2, 4)),
    ("norm_swiglu", ((6, 100, 66), (66,), (1100, 66)), (1, 2, 3, 4)),
    ("rotate", ((8, 65, 4, 32),), (1, 2, 4)),
]


def some_inputs(shapes):
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def value_and_gradients(function, shapes, *arithmetic):
    inputs = some_inputs(shapes)
    value = function(*inputs, *arithmetic)
    value.backward(torch.randn(value.shape, generator=torch.Generator().manual_seed(8)))
    return [value.detach(), *(x.grad for x in inputs)]


@in_every_arithmetic
@pytest.mark.parametrize(("name", "shapes"), SMALL_SHAPES)
def test_values_and_gradients_equal_torch(name, shapes, kind):
    function, reference = PAIRS[name]
    ours = value_and_gradients(function, shapes, ARITHMETICS[kind])
    theirs = value_and_gradients(reference, shapes)
    assert len(ours) == len(shapes) + 1
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("name", "shapes", "counts"), LARGE_SHAPES)
def test_threads_change_no_bit(name, shapes, counts, set_threads):
    results = []
    for count in counts:
        set_threads(count)
        results.append(value_and_gradients(PAIRS[name][0], shapes, ARITHMETICS["portable"]))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@in_every_arithmetic
@pytest.mark.parametrize(("name", "shapes"), SMALL_SHAPES)
def test_values_are_the_same_without_gradients(name, shapes, kind):
    function = PAIRS[name][0]
    with_gradients = value_and_gradients(function, shapes, ARITHMETICS[kind])[0]
    with torch.no_grad():
        assert torch.equal(function(*some_inputs(shapes), ARITHMETICS[kind]), with_gradients)


def test_features_first_is_the_order_in_memory_and_not_in_the_shape():
    x, scale, weight = some_inputs(((3, 7, 24), (24,), (10, 24)))
    result = norm_then_linear_features_first(x, scale, weight, ARITHMETICS["portable"])
    assert result.shape == (3, 7, 10)
    assert result.permute(2, 0, 1).is_contiguous()


def test_linear_learns_a_weight_from_inputs_without_gradient():
    x, weight = torch.randn(4, 6), torch.randn(5, 6, requires_grad=True)
    linear(x, weight, ARITHMETICS["portable"]).sum().backward()
    assert x.grad is None
    torch.testing.assert_close(weight.grad, x.sum(0).expand(5, 6), rtol=1e-5, atol=1e-5)


def test_linear_passes_gradients_through_a_fixed_weight():
    x, weight = torch.randn(4, 6, requires_grad=True), torch.randn(5, 6)
    linear(x, weight, ARITHMETICS["portable"]).sum().backward()
    assert weight.grad is None
    torch.testing.assert_close(x.grad, weight.sum(0).expand(4, 6), rtol=1e-5, atol=1e-5)


@in_every_arithmetic
def test_attention_to_the_first_token_is_its_value(kind):
    qkv = torch.randn(2, 5, 3, 3, 4)
    mixed = attend(qkv, torch.ones(2, 4), ARITHMETICS[kind])
    assert torch.equal(mixed[:, 0], qkv[:, 0, 2])


@pytest.mark.parametrize("portable", [True, False])
def test_operations_between_the_products_are_exact_up_to_rounding(portable):
    arithmetic = arithmetic_of(portable=portable, products=Products())
    x, a, b = torch.randn(3, 200)
    for sign in (1, -1):
        exact = (x.double() + sign * a.double() * b.double()).float()
        torch.testing.assert_close(arithmetic.add_product(x.clone(), a, b, sign=sign), exact)
    gate, up, grad = (t.double().requires_grad_() for t in torch.randn(3, 200))
    exact = F.silu(gate) * up
    exact.backward(grad)
    value, saved = arithmetic.swiglu(gate.detach().float(), up.detach().float())
    torch.testing.assert_close(value, exact.detach().float())
    gradients = arithmetic.swiglu_backward(grad.detach().float(), up.detach().float(), *saved)
    for found, of in zip(gradients, (gate, up), strict=True):
        torch.testing.assert_close(found, of.grad.float())
