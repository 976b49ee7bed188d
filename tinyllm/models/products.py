"""Which library multiplies matrices, and in which order it adds up.

Repeatable arithmetic needs a definition, and this is it: each number of a product is a chain of
float32 fused multiply-adds along the inner dimension, from the first to the last. Where that is
longer than 512, it falls into equal parts, whose chains are added one after the other. oneDNN
computes exactly this with AVX2 and with AVX-512, for any number of rows, columns and threads, so
`tinyllm.numerics` lets each CPU use its widest vectors and still gets the same bytes. MKL, which
torch calls by itself, adds up in an order of its own; it is quicker on Intel's CPUs with AVX-512,
and used there if nothing has to be repeated elsewhere.
"""

import functools
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from tinyllm.models.chains import check_chain

_LONGEST_CHAIN = 512
# grouped convolutions sum in one order only in blocks that are full, and not over a few columns
_BLOCK = 16
# multiplications above which a product of its own is quicker than a share of a convolution
_LARGE = 2**23
# up to so many multiplications torch calls MKL, whatever it was told
_SMALL = 16**3


def multiply(a: Tensor, b: Tensor, plus: Tensor | None = None) -> Tensor:
    """Return a b, or plus + a b, of float32 CPU matrices: [m, k], [k, n] -> [m, n].

    Either operand may be a transposed view; some kernels read it so, others copy it first.
    """
    if mkl_is_quicker():
        return torch.mm(a, b) if plus is None else torch.addmm(plus, a, b)
    result = plus
    for part in _chains(a.shape[1]):
        result = _checked(a[:, part], b[part], result, _chain(a[:, part], b[part], result))
    assert result is not None  # noqa: S101 - an inner dimension has at least one part
    return result


def multiply_pairs(a: Tensor, b: Tensor) -> Tensor:
    """Multiply float32 CPU matrices in pairs: [n, i, k], [n, k, j] -> [n, i, j]."""
    if mkl_is_quicker():
        return torch.bmm(a, b)
    result = None
    for part in _chains(a.shape[2]):
        left, right = a[:, :, part], b[:, part]
        product = _checked(left, right, None, _chains_of_pairs(left, right))
        result = product if result is None else result.add_(product)
    assert result is not None  # noqa: S101 - an inner dimension has at least one part
    return result


@functools.cache
def is_pinned() -> bool:
    """Whether `tinyllm.numerics` asked for arithmetic that other CPUs repeat."""
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


@functools.cache
def mkl_is_quicker() -> bool:
    """Whether this is an Intel CPU with AVX-512, and the arithmetic is not pinned."""
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


def send_products_to_onednn() -> None:
    """Let torch's own products reach oneDNN's for AVX-512, where the CPU has it.

    torch takes this for leave to round to bfloat16, and so asks oneDNN instead of MKL. oneDNN
    rounds only on CPUs with matrix units, which `tinyllm.numerics` keeps it from using.
    """
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"  # type: ignore[attr-defined]
    _products_reach_onednn.cache_clear()


@functools.cache
def _products_reach_onednn() -> bool:
    sent = torch.backends.mkldnn.matmul.fp32_precision == "bf16"  # type: ignore[attr-defined]
    # which is to say that oneDNN has AVX-512, the least with which it could round
    return sent and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - torch has no public one


def _chains(length: int) -> Iterator[slice]:
    """Equal parts of an inner dimension, none longer than a chain may be."""
    size = math.ceil(length / math.ceil(length / _LONGEST_CHAIN))
    return (slice(start, start + size) for start in range(0, length, size))


def _checked(a: Tensor, b: Tensor, plus: Tensor | None, result: Tensor) -> Tensor:
    if is_pinned():
        check_chain(a, b, plus, result)
    return result


def _chain(a: Tensor, b: Tensor, plus: Tensor | None) -> Tensor:
    rows, columns = len(a), b.shape[1]
    if rows == 1 or columns == 1:
        # a product with a vector has kernels of its own, which add up otherwise
        a, b = a.expand(max(2, rows), -1), b.expand(-1, max(2, columns))
        plus = None if plus is None else plus.expand(len(a), b.shape[1]).contiguous()
        return _chain(a.contiguous(), b.contiguous(), plus)[:rows, :columns]
    if not (a.is_contiguous() and (b.is_contiguous() or b.t().is_contiguous())):
        large = a.shape[0] * a.shape[1] * b.shape[1] > _SMALL
        if large and _products_reach_onednn():
            return torch.mm(a, b) if plus is None else torch.addmm(plus, a, b)
        # oneDNN falls back to a plain loop where a matrix has gaps
        a, b = a.contiguous(), b.contiguous()
    onednn = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 - torch has no public one
    if plus is None:
        return onednn(a, b.t(), None, "none", [], "")  # type: ignore[no-any-return]
    return onednn.binary(a, plus, b.t(), None, "add")  # type: ignore[no-any-return]


def _chains_of_pairs(a: Tensor, b: Tensor) -> Tensor:
    pairs, (_, rows, inner), columns = len(a), a.shape, b.shape[2]
    if pairs * rows * inner * columns > _SMALL and _products_reach_onednn():
        return torch.bmm(a, b)
    narrow = min(rows, columns) < _BLOCK
    if pairs == 1 or narrow or rows * inner * columns >= _LARGE:
        return torch.stack([_chain(x, y, None) for x, y in zip(a, b, strict=True)])
    return _grouped_convolution(a, b)


def _grouped_convolution(a: Tensor, b: Tensor) -> Tensor:
    """Multiply in pairs by oneDNN where torch's product in pairs does not reach it.

    A convolution with a group for each pair and kernels of width one is the same product.
    """
    pairs, rows, inner = a.shape
    columns = b.shape[2]
    more_rows, more_inner = -rows % _BLOCK, -inner % _BLOCK
    if more_rows or more_inner:
        a = F.pad(a, (0, more_inner, 0, more_rows))
        b = F.pad(b, (0, 0, 0, more_inner))
    signal = b.reshape(1, pairs * (inner + more_inner), columns)
    kernels = a.reshape(pairs * (rows + more_rows), inner + more_inner, 1)
    # a kernel of width one has nothing to dilate, but dilation keeps torch from MKL on one thread
    product = F.conv1d(signal, kernels, groups=pairs, dilation=2)
    return product.view(pairs, rows + more_rows, columns)[:, :rows].contiguous()
