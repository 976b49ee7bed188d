"""The arithmetic of the model equals torch's own, and does not depend on the number of threads."""

import math

import pytest
import torch
from tinyllm.models import elementwise, functional, products, scores
from torch.nn import functional as F

from tinyllm.kernels.attention import causal_attention, rotary_tables, rotate
from tinyllm.kernels.functional import linear, linear_add, norm_linear, norm_swiglu, rms_norm

THETA = 10_000.0


@pytest.fixture
def set_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def causal_mask(time, dtype=torch.float32):
    return torch.full((time, time), -math.inf, dtype=dtype).triu(1)


def tables(x):
    cosines, sines = rotary_tables(x.shape[1], x.shape[-1], THETA)
    return cosines.unsqueeze(1).to(x.dtype), sines.unsqueeze(1).to(x.dtype)


def attend(qkv, scales):
    return causal_attention(qkv, scales, tables(qkv), causal_mask(qkv.shape[1], qkv.dtype), 1e-6)


def reference_attention(qkv, scales):
    width, (cosines, sines) = qkv.shape[-1], tables(qkv)

    def turned(x, scale):
        first, second = F.rms_norm(x, (width,), scale, 1e-6).chunk(2, dim=-1)
        halves = (first * cosines - second * sines, first * sines + second * cosines)
        return torch.cat(halves, dim=-1).transpose(1, 2)

    queries, keys, values = qkv.unbind(2)
    q, k = turned(queries, scales[0]), turned(keys, scales[1])
    scores = q @ k.mT / math.sqrt(width) + causal_mask(qkv.shape[1], qkv.dtype)
    return (scores.softmax(dim=-1) @ values.transpose(1, 2)).transpose(1, 2)


def norm_then_linear(x, scale, weight):
    return norm_linear(x, scale, weight, 1e-6)


def reference_norm_linear(x, scale, weight):
    return F.linear(F.rms_norm(x, scale.shape, scale, 1e-6), weight)


def reference_linear_add(x, weight, residual):
    return F.linear(x, weight) + residual


def norm_then_swiglu(x, scale, weight):
    return norm_swiglu(x, scale, weight, 1e-6)


def reference_swiglu(x, scale, weight):
    gate, up = reference_norm_linear(x, scale, weight).chunk(2, dim=-1)
    return F.silu(gate) * up


def norm(x, weight):
    return rms_norm(x, weight, 1e-6)


def reference_norm(x, weight):
    return F.rms_norm(x, weight.shape, weight, 1e-6)


def norm_strided(qkv, weight):
    return norm(qkv.unbind(2)[1], weight)


def turn(x):
    cosines, sines = rotary_tables(x.shape[1], x.shape[3], THETA)
    return rotate(x, cosines.unsqueeze(1), sines.unsqueeze(1))


def reference_turn(x):
    time, head_dim = x.shape[1], x.shape[3]
    rates = THETA ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.outer(torch.arange(time, dtype=torch.float64), rates)[:, None]
    cosine, sine = angles.cos().float(), angles.sin().float()
    first, second = x[..., : head_dim // 2], x[..., head_dim // 2 :]
    return torch.cat((first * cosine - second * sine, first * sine + second * cosine), dim=-1)


PAIRS = {
    "linear": (linear, F.linear),
    "attention": (attend, reference_attention),
    "linear_add": (linear_add, reference_linear_add),
    "norm_linear": (norm_then_linear, reference_norm_linear),
    "norm_swiglu": (norm_then_swiglu, reference_swiglu),
    "rotate": (turn, reference_turn),
    "rms_norm": (norm, reference_norm),
    "rms_norm_strided": (norm_strided, lambda qkv, w: reference_norm(qkv.unbind(2)[1], w)),
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
    ("norm_swiglu", ((3, 7, 24), (24,), (34, 24))),
    ("rotate", ((2, 9, 3, 8),)),
    ("rms_norm", ((3, 7, 24), (24,))),
    ("rms_norm", ((5, 1), (1,))),
    ("rms_norm_strided", ((2, 7, 3, 2, 8), (8,))),
]
# elementwise work is only shared out above 32768 elements
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
    ("norm_swiglu", ((8, 128, 48), (48,), (202, 48)), (1, 2, 4)),
    ("norm_swiglu", ((6, 100, 66), (66,), (1100, 66)), (1, 2, 3, 4)),
    ("rotate", ((8, 65, 4, 32),), (1, 2, 4)),
]


def value_and_gradients(function, shapes, dtype=torch.float32):
    generator = torch.Generator().manual_seed(7)
    inputs = [
        torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes
    ]
    value = function(*inputs)
    value.backward(torch.randn(value.shape, generator=generator).to(dtype))
    return [value.detach(), *(x.grad for x in inputs)]


@pytest.mark.parametrize(("name", "shapes"), SMALL_SHAPES)
def test_values_and_gradients_equal_torch(name, shapes):
    ours, reference = (value_and_gradients(function, shapes) for function in PAIRS[name])
    assert len(ours) == len(shapes) + 1
    for mine, other in zip(ours, reference, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("name", "shapes"), SMALL_SHAPES)
def test_the_quicker_arithmetic_equals_torch_too(name, shapes, monkeypatch):
    for module in (functional, products, scores):
        monkeypatch.setattr(module, "mkl_is_quicker", lambda: True)
    monkeypatch.setattr(elementwise, "is_pinned", lambda: False)
    test_values_and_gradients_equal_torch(name, shapes)


@pytest.mark.parametrize(("name", "shapes", "counts"), LARGE_SHAPES)
def test_threads_change_no_bit(name, shapes, counts, set_threads):
    results = []
    for count in counts:
        set_threads(count)
        results.append(value_and_gradients(PAIRS[name][0], shapes))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize(
    "name", ["linear", "linear_add", "norm_linear", "attention", "norm_swiglu"]
)
def test_other_precisions_take_the_general_way(name):
    shapes = next(shapes for known, shapes in SMALL_SHAPES if known == name)
    ours, reference = (value_and_gradients(f, shapes, torch.float64) for f in PAIRS[name])
    for mine, other in zip(ours, reference, strict=True):
        assert mine.dtype == torch.float64
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("name", "shapes"), SMALL_SHAPES)
def test_values_are_the_same_without_gradients(name, shapes):
    if "norm" in name:
        pytest.skip("written otherwise where no gradients are needed")
    function = PAIRS[name][0]
    with_gradients = value_and_gradients(function, shapes)[0]
    generator = torch.Generator().manual_seed(7)
    inputs = [torch.randn(shape, generator=generator) for shape in shapes]
    with torch.no_grad():
        assert torch.equal(function(*inputs), with_gradients)


def test_linear_learns_a_weight_from_inputs_without_gradient():
    x, weight = torch.randn(4, 6), torch.randn(5, 6, requires_grad=True)
    linear(x, weight).sum().backward()
    assert x.grad is None
    torch.testing.assert_close(weight.grad, x.sum(0).expand(5, 6), rtol=1e-5, atol=1e-5)


def test_linear_passes_gradients_through_a_fixed_weight():
    x, weight = torch.randn(4, 6, requires_grad=True), torch.randn(5, 6)
    linear(x, weight).sum().backward()
    assert weight.grad is None
    torch.testing.assert_close(x.grad, weight.sum(0).expand(4, 6), rtol=1e-5, atol=1e-5)


def test_attention_to_the_first_character_is_its_value():
    qkv = torch.randn(2, 5, 3, 3, 4)
    assert torch.equal(attend(qkv, torch.ones(2, 4))[:, 0], qkv[:, 0, 2])


def test_rotary_tables_hold_unit_rotations_that_start_at_none():
    cosines, sines = rotary_tables(50, 8, THETA)
    assert cosines.shape == sines.shape == (50, 4)
    assert cosines[0].tolist() == [1] * 4
    assert sines[0].tolist() == [0] * 4
    torch.testing.assert_close(cosines**2 + sines**2, torch.ones(50, 4), rtol=1e-6, atol=1e-6)
    assert sines[1, 0].item() == pytest.approx(math.sin(1.0))
    assert sines[1, 1].item() == pytest.approx(math.sin(0.1))


def test_rotated_products_depend_on_the_distance_alone():
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
