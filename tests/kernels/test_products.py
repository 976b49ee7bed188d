"""The accumulation order of products: float32 fused multiply-adds along the inner dimension."""

import hashlib
import inspect
import os
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch

from tests.conftest import ROOT
from tinyllm.base.errors import TinyLLMError
from tinyllm.kernels import products
from tinyllm.kernels.accumulation import AccumulationCheck
from tinyllm.kernels.machine import cpu_flags
from tinyllm.kernels.numerics import ONEDNN_LIMIT
from tinyllm.kernels.products import OnednnProducts, Products, choose_products

# inner dimensions around blocks and around the longest single sum
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
ALONE = """
import hashlib
import torch
from tinyllm.kernels.config import NumericsConfig
from tinyllm.kernels.numerics import setup_numerics
products = setup_numerics(NumericsConfig()).products
"""
CHECKED = OnednnProducts(check=True)
multiply, multiply_pairs = CHECKED.multiply, CHECKED.multiply_pairs


def random(*shape, seed=3):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def defined(a, b, plus=None):
    """One element of a product, by its definition."""
    length = len(a)
    parts = -(-length // products._LONGEST)
    size = -(-length // parts)
    total = None if plus is None else np.float32(plus)
    for start in range(0, length, size):
        part = np.float32(0)
        for x, y in zip(a[start : start + size], b[start : start + size], strict=True):
            exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(part))
            part = nearest_float32(exact)
        total = part if total is None else total + part
    return total


def nearest_float32(exact):
    """Round a fraction once, half to even."""
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
def test_products_follow_the_definition(shape, transposed):
    rows, inner, columns = shape
    a, b, plus = random(rows, inner), random(inner, columns), random(rows, columns)
    if transposed:
        a, b = a.t().contiguous().t(), b.t().contiguous().t()
    result, sums = multiply(a, b), multiply(a, b, plus)
    for row, column in ((0, 0), (rows - 1, columns - 1), (rows // 3, columns // 2)):
        assert result[row, column].item() == defined(a[row], b[:, column])
        assert sums[row, column].item() == defined(a[row], b[:, column], plus[row, column])


@pytest.mark.parametrize("shape", PAIRS)
def test_products_in_pairs_follow_the_definition(shape):
    pairs, rows, inner, columns = shape
    a, b = random(pairs, rows, inner), random(pairs, inner, columns)
    result = multiply_pairs(a, b)
    assert torch.equal(multiply_pairs(a.mT.contiguous().mT, b.mT.contiguous().mT), result)
    places = ((0, 0, 0), (pairs - 1, rows - 1, columns - 1), (0, rows // 3, columns // 2))
    for pair, row, column in places:
        assert result[pair, row, column].item() == defined(a[pair, row], b[pair, :, column])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("who", [CHECKED, OnednnProducts(check=False), Products()])
def test_values_are_those_of_double_precision(shape, who):
    rows, inner, columns = shape
    a, b, plus = random(rows, inner), random(inner, columns), random(rows, columns)
    exact = (a.double() @ b.double()).float()
    torch.testing.assert_close(who.multiply(a, b), exact, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(who.multiply(a, b, plus), exact + plus, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(who.multiply_pairs(a[None], b[None])[0], exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_check_changes_no_bit(shape):
    rows, inner, columns = shape
    a, b = random(rows, inner), random(inner, columns)
    assert torch.equal(OnednnProducts(check=False).multiply(a, b), multiply(a, b))


def test_operands_with_gaps_keep_to_the_definition():
    a, b = random(6, 40)[:, 3:23], random(6, 80).t()[5:25]
    result = multiply(a, b)
    assert torch.equal(multiply(a.contiguous(), b), result)
    assert result[2, 3].item() == defined(a[2], b[:, 3])
    assert torch.equal(multiply_pairs(a[None], b[None])[0], result)


def test_the_addend_is_not_changed():
    a, b, plus = random(8, 1100), random(1100, 6), random(8, 6)
    before = plus.clone()
    multiply(a, b, plus)
    assert torch.equal(plus, before)


def hashes_of_products(products):
    """A hash of products of every kind, for each of three numbers of threads.

    Short and long sums, full and partial blocks, one pair and many, transposed.
    """
    flat = [(2048, 128, 384), (2048, 768, 128), (384, 2048, 128), (2, 1500, 70), (70, 97, 33)]
    paired = [(64, 128, 32, 128), (6, 17, 20, 33), (1, 300, 600, 40), (4, 384, 1100, 256)]
    hashes, threads_before = [], torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        generator = torch.Generator().manual_seed(5)
        results = []
        for m, k, n in flat:
            a, b, c = (torch.randn(s, generator=generator) for s in ((m, k), (k, n), (m, n)))
            results += [products.multiply(a, b), products.multiply(a, b, c)]
            results += [products.multiply(b.t(), a.t())]
        for p, i, k, j in paired:
            a, b = (torch.randn(s, generator=generator) for s in ((p, i, k), (p, k, j)))
            results += [products.multiply_pairs(a, b), products.multiply_pairs(b.mT, a.mT)]
        data = b"".join(result.contiguous().numpy().tobytes() for result in results)
        hashes.append(hashlib.sha256(data).hexdigest())
    torch.set_num_threads(threads_before)
    return hashes


def test_vectors_and_threads_change_no_bit():
    """This compares two kinds of kernels on a CPU with AVX-512, elsewhere only threads."""
    function = inspect.getsource(hashes_of_products)
    script = f"{ALONE}\n{function}\nprint(*hashes_of_products(products))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=os.environ | {ONEDNN_LIMIT: "AVX2"},
        capture_output=True,
        text=True,
        check=True,
    )
    here, with_avx2 = hashes_of_products(CHECKED), done.stdout.split()
    assert len(here) == len(with_avx2) == 3
    assert len({*here, *with_avx2}) == 1


@pytest.mark.skipif("avx512dq" not in cpu_flags(), reason="this CPU has no AVX-512")
def test_torchs_products_use_onednn_if_the_cpu_has_avx512():
    assert products._torch_asks_onednn()


@pytest.mark.parametrize("plus", [None, random(40, 24)])
def test_a_kernel_with_another_accumulation_order_is_refused(plus):
    a, b = random(40, 500), random(500, 24)
    halves = a[:, :250] @ b[:250] + a[:, 250:] @ b[250:]
    with pytest.raises(TinyLLMError, match=r"a product of 40x500 by 500x24 in another order"):
        AccumulationCheck()(a, b, plus, halves if plus is None else plus + halves)


def test_every_corner_of_the_first_and_last_pair_is_compared():
    a, b = random(3, 8, 100), random(3, 100, 6)
    right = multiply_pairs(a, b)
    for place in ((0, 0, 0), (0, 7, 5), (2, 0, 5), (2, 7, 0), (2, 4, 3)):
        wrong = right.clone()
        wrong[place] += 1e-3
        with pytest.raises(TinyLLMError, match="in another order"):
            AccumulationCheck()(a, b, None, wrong)
    AccumulationCheck()(a, b, None, right)


def test_a_shape_is_compared_once_and_zeros_do_not_count():
    a, b = random(8, 100), random(100, 6)
    check = AccumulationCheck()
    check(a * 0, b, None, torch.ones(8, 6))
    assert not check._seen
    check(a, b, None, multiply(a, b))
    assert len(check._seen) == 1
    check(a, b, None, torch.ones(8, 6))


@pytest.mark.parametrize("check", [True, False])
def test_only_portable_products_are_compared_with_their_definition(check, monkeypatch):
    who = OnednnProducts(check=check)
    monkeypatch.setattr(who, "_one", lambda a, b, plus: torch.zeros(len(a), b.shape[1]))
    monkeypatch.setattr(who, "_pairs", lambda a, b: torch.zeros(len(a), a.shape[1], b.shape[2]))
    a, b = random(8, 100), random(100, 6)
    for call in (lambda: who.multiply(a, b), lambda: who.multiply_pairs(a[None], b[None])):
        if check:
            with pytest.raises(TinyLLMError, match="in another order"):
                call()
        else:
            assert not call().any()


@pytest.mark.parametrize(
    ("has_onednn", "mkl_is_quicker", "portable", "by_mkl"),
    [
        (True, True, True, False),
        (True, True, False, True),
        (True, False, True, False),
        (True, False, False, False),
        (False, False, False, True),
    ],
)
def test_mkl_multiplies_only_where_it_is_faster_and_in_fast_mode(
    has_onednn, mkl_is_quicker, portable, by_mkl, monkeypatch
):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: has_onednn)
    monkeypatch.setattr(products, "_mkl_is_quicker", lambda: mkl_is_quicker)
    who = choose_products(portable=portable)
    assert who.by_mkl is by_mkl
    if not by_mkl:
        assert (who._check is not None) is portable


@pytest.mark.parametrize(
    ("capability", "maker", "quicker"),
    [
        ("AVX512", "GenuineIntel", True),
        ("AVX512_VNNI", "GenuineIntel", True),
        ("AVX512", "AuthenticAMD", False),
        ("AVX2", "GenuineIntel", True),
        ("AVX2", "AuthenticAMD", True),
        ("DEFAULT", "AuthenticAMD", True),
    ],
)
def test_mkl_is_preferred_on_intels_cpus_and_on_those_without_avx512(
    capability, maker, quicker, monkeypatch
):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(products, "cpu_vendor", lambda: maker)
    assert products._mkl_is_quicker() is quicker
