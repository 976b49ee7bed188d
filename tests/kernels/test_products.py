"""Products add up as defined: float32 fused multiply-adds along the inner dimension, in order."""

import hashlib
import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from tinyllm.models import chains, products

from tests.conftest import ROOT
from tinyllm.base.errors import TinyLLMError
from tinyllm.kernels.accumulation import check_chain
from tinyllm.kernels.numerics import ONEDNN_LIMIT, _cpu_flags
from tinyllm.kernels.products import multiply, multiply_pairs

# inner dimensions around blocks and around the longest chain
SHAPES = [
    (1, 32, 1),
    (1, 600, 9),
    (9, 40, 1),
    (2, 32, 2),
    (3, 5, 2),
    (64, 16, 48),
    (70, 97, 33),
    (130, 512, 64),
    (40, 513, 24),
    (96, 1500, 80),
]
PAIRS = [
    (1, 9, 5, 11),
    (8, 2, 32, 2),
    (50, 20, 32, 3),
    (40, 1, 64, 1),
    (6, 17, 20, 33),
    (24, 64, 16, 72),
    (4, 128, 340, 128),
    (3, 40, 700, 24),
]
# of every kind: short and long chains, whole and ragged blocks, one pair and many, transposed
PRODUCTS = """
import sys
import torch
from tinyllm.kernels.config import NumericsConfig
from tinyllm.kernels.products import multiply, multiply_pairs
from tinyllm.kernels.numerics import setup_numerics
import hashlib
setup_numerics(NumericsConfig(threads=int(sys.argv[1])))
generator = torch.Generator().manual_seed(5)
hash = hashlib.sha256()
for m, k, n in [(2048, 128, 384), (2048, 768, 128), (384, 2048, 128), (2, 1500, 70), (70, 97, 33)]:
    a, b, c = (torch.randn(s, generator=generator) for s in ((m, k), (k, n), (m, n)))
    for result in (multiply(a, b), multiply(a, b, c), multiply(b.t(), a.t())):
        hash.update(result.contiguous().numpy().tobytes())
for p, i, k, j in [(64, 128, 32, 128), (6, 17, 20, 33), (1, 300, 600, 40), (4, 384, 1100, 256)]:
    a, b = (torch.randn(s, generator=generator) for s in ((p, i, k), (p, k, j)))
    for result in (multiply_pairs(a, b), multiply_pairs(b.mT, a.mT)):
        hash.update(result.contiguous().numpy().tobytes())
print(hash.hexdigest())
"""


def random(*shape, seed=3):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def defined(a, b, plus=None):
    """One number of a product, exactly as the definition has it."""
    length = len(a)
    parts = -(-length // products._LONGEST_CHAIN)
    size = -(-length // parts)
    total = None if plus is None else np.float32(plus)
    for start in range(0, length, size):
        chain = np.float32(0)
        for x, y in zip(a[start : start + size], b[start : start + size], strict=True):
            exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(chain))
            chain = nearest_float32(exact)
        total = chain if total is None else total + chain
    return total


def nearest_float32(exact):
    """Round a fraction once, halves to even."""
    near = np.float32(float(exact))
    candidates = [
        np.nextafter(near, np.float32(-np.inf)),
        near,
        np.nextafter(near, np.float32(9e9)),
    ]
    distance = [abs(Fraction(float(x)) - exact) for x in candidates]
    best = [x for x, d in zip(candidates, distance, strict=True) if d == min(distance)]
    return best[0] if len(best) == 1 else next(x for x in best if not x.view(np.uint32) & 1)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_products_are_what_the_definition_says(shape, transposed):
    rows, inner, columns = shape
    a, b, plus = random(rows, inner), random(inner, columns), random(rows, columns)
    if transposed:
        a, b = a.t().contiguous().t(), b.t().contiguous().t()
    result, sums = multiply(a, b), multiply(a, b, plus)
    for row, column in ((0, 0), (rows - 1, columns - 1), (rows // 3, columns // 2)):
        assert result[row, column].item() == defined(a[row], b[:, column])
        assert sums[row, column].item() == defined(a[row], b[:, column], plus[row, column])


@pytest.mark.parametrize("shape", PAIRS)
def test_products_in_pairs_are_what_the_definition_says(shape):
    pairs, rows, inner, columns = shape
    a, b = random(pairs, rows, inner), random(pairs, inner, columns)
    result = multiply_pairs(a, b)
    assert torch.equal(multiply_pairs(a.mT.contiguous().mT, b.mT.contiguous().mT), result)
    places = ((0, 0, 0), (pairs - 1, rows - 1, columns - 1), (0, rows // 3, columns // 2))
    for pair, row, column in places:
        assert result[pair, row, column].item() == defined(a[pair, row], b[pair, :, column])


@pytest.mark.parametrize("shape", SHAPES)
def test_values_are_those_of_torch(shape):
    rows, inner, columns = shape
    a, b = random(rows, inner), random(inner, columns)
    torch.testing.assert_close(multiply(a, b), a @ b, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(multiply_pairs(a[None], b[None])[0], a @ b, rtol=1e-4, atol=1e-4)


def test_operands_with_gaps_keep_to_the_definition():
    a, b = random(6, 40)[:, 3:23], random(6, 80).t()[5:25]
    result = multiply(a, b)
    assert torch.equal(multiply(a.contiguous(), b), result)
    assert result[2, 3].item() == defined(a[2], b[:, 3])
    assert torch.equal(multiply_pairs(a[None], b[None])[0], result)


def test_what_is_added_to_is_left_alone():
    a, b, plus = random(8, 1100), random(1100, 6), random(8, 6)
    before = plus.clone()
    multiply(a, b, plus)
    assert torch.equal(plus, before)


def hash_of_products(threads, **environment):
    pinned = ("ATEN_CPU_CAPABILITY", ONEDNN_LIMIT, "MKL_CBWR")
    inherited = {k: v for k, v in os.environ.items() if k not in pinned}
    command = [sys.executable, "-c", PRODUCTS, str(threads)]
    done = subprocess.run(
        command, cwd=ROOT, env=inherited | environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_vectors_and_threads_change_no_bit():
    """On a CPU with AVX-512 this compares two kinds of kernels, elsewhere only threads."""
    known = hash_of_products(1)
    assert len(known.strip()) == 2 * hashlib.sha256().digest_size
    assert {hash_of_products(threads) for threads in (2, 3)} == {known}
    assert hash_of_products(2, **{ONEDNN_LIMIT: "AVX2"}) == known


@pytest.mark.skipif("avx512dq" not in _cpu_flags(), reason="this CPU has no AVX-512")
def test_torchs_products_reach_onednn_where_the_cpu_has_avx512():
    assert products._products_reach_onednn()


@pytest.fixture
def fresh(monkeypatch):
    """Forget which shapes were compared."""
    monkeypatch.setattr(chains, "_seen", set())


@pytest.mark.parametrize("plus", [None, random(40, 24)])
def test_a_kernel_that_adds_up_in_another_order_is_refused(plus, fresh):
    a, b = random(40, 500), random(500, 24)
    halves = a[:, :250] @ b[:250] + a[:, 250:] @ b[250:]
    with pytest.raises(TinyLLMError, match=r"a product of 40x500 by 500x24 in another order"):
        check_chain(a, b, plus, halves if plus is None else plus + halves)


def test_every_corner_of_the_first_and_last_pair_is_compared(fresh):
    a, b = random(3, 8, 100), random(3, 100, 6)
    right = multiply_pairs(a, b)
    for place in ((0, 0, 0), (0, 7, 5), (2, 0, 5), (2, 7, 0), (2, 4, 3)):
        wrong = right.clone()
        wrong[place] += 1e-3
        chains._seen.clear()
        with pytest.raises(TinyLLMError, match="in another order"):
            check_chain(a, b, None, wrong)
    check_chain(a, b, None, right)


def test_a_shape_is_compared_once_and_zeros_do_not_count(fresh):
    a, b = random(8, 100), random(100, 6)
    check_chain(a * 0, b, None, torch.ones(8, 6))
    assert not chains._seen
    check_chain(a, b, None, multiply(a, b))
    assert len(chains._seen) == 1
    check_chain(a, b, None, torch.ones(8, 6))
