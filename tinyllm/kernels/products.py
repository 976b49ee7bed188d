"""Which library multiplies matrices, and in which accumulation order.

Portable arithmetic defines each element of a product as a sequence of float32 fused multiply-adds
along the inner dimension, from first to last. An inner dimension longer than 512 is split into
equal parts, whose sums are added in order. oneDNN computes exactly this with AVX2 and with AVX-512,
for any number of rows, columns and threads, so `tinyllm.kernels.numerics` lets each CPU use its
widest vectors and still gets the same bytes. MKL, torch's default, has another accumulation order;
it is faster on Intel CPUs and on those without AVX-512, and used there in fast mode.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from tinyllm.kernels.accumulation import AccumulationCheck
from tinyllm.kernels.machine import cpu_vendor, is_x86

_LONGEST = 512
# grouped convolutions keep the accumulation order only in full blocks, and not for a few columns
_BLOCK = 16
# multiplications above which separate products are faster than a grouped convolution
_LARGE = 2**23
# up to this many multiplications torch always calls MKL
_SMALL = 16**3


class Products:
    """Products of CPU matrices by torch, which calls MKL for float32."""

    by_mkl = True
    in_bfloat16 = False

    def multiply(self, a: Tensor, b: Tensor, plus: Tensor | None = None) -> Tensor:
        """Return a b, or plus + a b: [m, k], [k, n] -> [m, n].

        Either operand may be a transposed view; some kernels copy it first.
        """
        return torch.mm(a, b) if plus is None else torch.addmm(plus, a, b)

    def multiply_pairs(self, a: Tensor, b: Tensor) -> Tensor:
        """Multiply in pairs: [n, i, k], [n, k, j] -> [n, i, j]."""
        return torch.bmm(a, b)


class Bfloat16Products(Products):
    """Products where training rounds to bfloat16; torch calls oneDNN for these."""

    in_bfloat16 = True


class OnednnProducts(Products):
    """Products by oneDNN, in the defined order; with `check`, each shape is checked once."""

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
            # products with a vector have separate kernels with another accumulation order
            a, b = a.expand(max(2, rows), -1), b.expand(-1, max(2, columns))
            plus = None if plus is None else plus.expand(len(a), b.shape[1]).contiguous()
            return self._one(a.contiguous(), b.contiguous(), plus)[:rows, :columns]
        if not (a.is_contiguous() and (b.is_contiguous() or b.t().is_contiguous())):
            large = a.shape[0] * a.shape[1] * b.shape[1] > _SMALL
            if large and self._torch_asks_onednn:
                return torch.mm(a, b) if plus is None else torch.addmm(plus, a, b)
            # oneDNN falls back to a plain loop if a matrix has gaps
            a, b = a.contiguous(), b.contiguous()
        onednn = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001 - torch has no public one
        if plus is None:
            return onednn(a, b.t(), None, "none", [], "")  # type: ignore[no-any-return]  # torch has no types for it
        return onednn.binary(a, plus, b.t(), None, "add")  # type: ignore[no-any-return]  # torch has no types for it

    def _pairs(self, a: Tensor, b: Tensor) -> Tensor:
        pairs, (_, rows, inner), columns = len(a), a.shape, b.shape[2]
        if pairs * rows * inner * columns > _SMALL and self._torch_asks_onednn:
            return torch.bmm(a, b)
        narrow = min(rows, columns) < _BLOCK
        if pairs == 1 or narrow or rows * inner * columns >= _LARGE:
            return torch.stack([self._one(x, y, None) for x, y in zip(a, b, strict=True)])
        return _grouped_convolution(a, b)


def choose_products(*, portable: bool) -> Products:
    """Choose the products for this CPU; call `send_products_to_onednn` before, if at all."""
    if not has_onednn() or (not portable and _mkl_is_quicker()):
        return Products()
    return OnednnProducts(check=portable)


def has_onednn() -> bool:
    """Whether torch has oneDNN's own kernels, which are those for x86-64.

    For ARM oneDNN calls other libraries, as torch's own products do.
    """
    return is_x86() and torch.backends.mkldnn.is_available()


def send_products_to_onednn() -> None:
    """Let torch's own products use oneDNN's for AVX-512 if the CPU has it.

    The setting permits rounding to bfloat16, so torch calls oneDNN instead of MKL. oneDNN rounds
    only on CPUs with matrix units, which `tinyllm.kernels.numerics` keeps it from using.
    """
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"  # type: ignore[attr-defined]  # torch has no types for it


def _torch_asks_onednn() -> bool:
    sent = torch.backends.mkldnn.matmul.fp32_precision == "bf16"  # type: ignore[attr-defined]  # torch has no types for it
    # true if oneDNN has AVX-512, without which it cannot round
    return sent and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - torch has no public one


def _mkl_is_quicker() -> bool:
    """Whether this is an Intel CPU, or one without AVX-512."""
    wide = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return not wide or cpu_vendor() == "GenuineIntel"


def _parts(length: int) -> Iterator[slice]:
    """Equal parts of an inner dimension, none longer than `_LONGEST`."""
    size = math.ceil(length / math.ceil(length / _LONGEST))
    return (slice(start, start + size) for start in range(0, length, size))


def _grouped_convolution(a: Tensor, b: Tensor) -> Tensor:
    """Multiply in pairs by oneDNN where `torch.bmm` would not.

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
    # dilation changes nothing at width one, but keeps torch from using MKL on one thread
    product = F.conv1d(signal, kernels, groups=pairs, dilation=2)
    return product.view(pairs, rows + more_rows, columns)[:, :rows].contiguous()
