"""Which library multiplies matrices, and in which order it adds up.

Portable arithmetic needs a definition, and this is it: each number of a product is a sequence of
float32 fused multiply-adds along the inner dimension, from the first to the last. Where that is
longer than 512, it falls into equal parts, whose sums are added one after the other. oneDNN
computes exactly this with AVX2 and with AVX-512, for any number of rows, columns and threads, so
`tinyllm.kernels.numerics` lets each CPU use its widest vectors and still gets the same bytes. MKL,
which torch calls by itself, adds up in an order of its own; it is quicker on Intel's CPUs with
AVX-512, and used there if nothing has to be repeated elsewhere.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from tinyllm.kernels.accumulation import AccumulationCheck

_LONGEST = 512
# grouped convolutions sum in one order only in blocks that are full, and not over a few columns
_BLOCK = 16
# multiplications above which a product of its own is quicker than a share of a convolution
_LARGE = 2**23
# up to so many multiplications torch calls MKL, whatever it was told
_SMALL = 16**3


class Products:
    """Products of float32 CPU matrices as torch computes them, which is by MKL."""

    by_mkl = True

    def multiply(self, a: Tensor, b: Tensor, plus: Tensor | None = None) -> Tensor:
        """Return a b, or plus + a b: [m, k], [k, n] -> [m, n].

        Either operand may be a transposed view; some kernels read it so, others copy it first.
        """
        return torch.mm(a, b) if plus is None else torch.addmm(plus, a, b)

    def multiply_pairs(self, a: Tensor, b: Tensor) -> Tensor:
        """Multiply in pairs: [n, i, k], [n, k, j] -> [n, i, j]."""
        return torch.bmm(a, b)


class OnednnProducts(Products):
    """The same by oneDNN, in the defined order; if `check` says so, each shape is checked once."""

    by_mkl = False

    def __init__(self, *, check: bool) -> None:
        self._check = AccumulationCheck() if check else None
        self._torch_asks_onednn = _torch_asks_onednn()

    def multiply(self, a: Tensor, b: Tensor, plus: Tensor | None = None) -> Tensor:
        """See `Products`."""
        result = plus
        for part in _parts(a.shape[1]):
            before, left, right = result, a[:, part], b[part]
            result = self._one(left, right, before)
            if self._check:
                self._check(left, right, before, result)
        assert result is not None  # noqa: S101 - an inner dimension has at least one part
        return result

    def multiply_pairs(self, a: Tensor, b: Tensor) -> Tensor:
        """See `Products`."""
        result = None
        for part in _parts(a.shape[2]):
            left, right = a[:, :, part], b[:, part]
            product = self._pairs(left, right)
            if self._check:
                self._check(left, right, None, product)
            result = product if result is None else result.add_(product)
        assert result is not None  # noqa: S101 - an inner dimension has at least one part
        return result

    def _one(self, a: Tensor, b: Tensor, plus: Tensor | None) -> Tensor:
        rows, columns = len(a), b.shape[1]
        if rows == 1 or columns == 1:
            # a product with a vector has kernels of its own, which add up otherwise
            a, b = a.expand(max(2, rows), -1), b.expand(-1, max(2, columns))
            plus = None if plus is None else plus.expand(len(a), b.shape[1]).contiguous()
            return self._one(a.contiguous(), b.contiguous(), plus)[:rows, :columns]
        if not (a.is_contiguous() and (b.is_contiguous() or b.t().is_contiguous())):
            large = a.shape[0] * a.shape[1] * b.shape[1] > _SMALL
            if large and self._torch_asks_onednn:
                return torch.mm(a, b) if plus is None else torch.addmm(plus, a, b)
            # oneDNN falls back to a plain loop where a matrix has gaps
            a, b = a.contiguous(), b.contiguous()
        onednn = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 - torch has no public one
        if plus is None:
            return onednn(a, b.t(), None, "none", [], "")  # type: ignore[no-any-return]
        return onednn.binary(a, plus, b.t(), None, "add")  # type: ignore[no-any-return]

    def _pairs(self, a: Tensor, b: Tensor) -> Tensor:
        pairs, (_, rows, inner), columns = len(a), a.shape, b.shape[2]
        if pairs * rows * inner * columns > _SMALL and self._torch_asks_onednn:
            return torch.bmm(a, b)
        narrow = min(rows, columns) < _BLOCK
        if pairs == 1 or narrow or rows * inner * columns >= _LARGE:
            return torch.stack([self._one(x, y, None) for x, y in zip(a, b, strict=True)])
        return _grouped_convolution(a, b)


def choose_products(*, portable: bool) -> Products:
    """Return who multiplies on this CPU, after `send_products_to_onednn` if that is called."""
    if not torch.backends.mkldnn.is_available() or (not portable and _mkl_is_quicker()):
        return Products()
    return OnednnProducts(check=portable)


def send_products_to_onednn() -> None:
    """Let torch's own products reach oneDNN's for AVX-512, where the CPU has it.

    torch takes this for leave to round to bfloat16, and so asks oneDNN instead of MKL. oneDNN
    rounds only on CPUs with matrix units, which `tinyllm.kernels.numerics` keeps it from using.
    """
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"  # type: ignore[attr-defined]


def _torch_asks_onednn() -> bool:
    sent = torch.backends.mkldnn.matmul.fp32_precision == "bf16"  # type: ignore[attr-defined]
    # which is to say that oneDNN has AVX-512, the least with which it could round
    return sent and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - torch has no public one


def _mkl_is_quicker() -> bool:
    """Whether this is an Intel CPU with AVX-512."""
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


def _parts(length: int) -> Iterator[slice]:
    """Equal parts of an inner dimension, none longer than one sum may be."""
    size = math.ceil(length / math.ceil(length / _LONGEST))
    return (slice(start, start + size) for start in range(0, length, size))


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
