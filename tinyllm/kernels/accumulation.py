"""Checks the accumulation order of the first product of each shape.

`tinyllm.kernels.products` defines the accumulation order. All kernels tried so far keep to it, but
how a kernel splits its work depends on the CPU's caches and on the shapes. So elements from the
corners and the middle of each shape's first product are recomputed one multiplication at a time,
and a CPU that rounds otherwise is rejected before it matters.
"""

import numpy as np
import torch
from torch import Tensor

from tinyllm.base.errors import TinyLLMError


class AccumulationCheck:
    """Remembers which shapes were found to keep to the accumulation order."""

    def __init__(self) -> None:
        self._seen: set[tuple[object, ...]] = set()

    def __call__(self, a: Tensor, b: Tensor, plus: Tensor | None, result: Tensor) -> None:
        """Compare [n, m, k] times [n, k, j], or a single product, with its definition.

        Args:
            a: the left operand.
            b: the right operand.
            plus: what was added to the product, [m, j].
            result: the kernel's result.

        Raises:
            TinyLLMError: the kernel has another accumulation order.
        """
        key = (a.shape, a.stride(), b.shape, b.stride(), plus is None)
        if key in self._seen:
            return
        places = _places(*result.shape[-2:], pairs=len(a) if a.ndim > 2 else 1)
        pair, row, column = (torch.tensor(part) for part in zip(*places, strict=True))
        left = a.view(-1, *a.shape[-2:])[pair, row].detach().numpy()
        right = b.view(-1, *b.shape[-2:])[pair, :, column].detach().numpy()
        if not (left.any() and right.any()):
            # weights that are still zero say nothing about the order
            return
        numbers = _accumulate(left, right)
        if not np.isfinite(numbers).all() or not numbers.any():
            # neither do diverged runs
            return
        if plus is not None:
            numbers += plus[row, column].detach().numpy()
        found = result.view(-1, *result.shape[-2:])[pair, row, column].detach().numpy()
        if not np.array_equal(numbers, found):
            sizes = " by ".join("x".join(str(size) for size in x.shape[-2:]) for x in (a, b))
            raise TinyLLMError(
                f"Portable arithmetic does not hold here: this CPU's kernels add up a product of "
                f"{sizes} in another order; set ONEDNN_MAX_CPU_ISA=AVX2 in the environment, or "
                f"numerics.mode to 'fast'."
            )
        self._seen.add(key)


def _places(rows: int, columns: int, *, pairs: int) -> list[tuple[int, int, int]]:
    """Corners and middle of the first and the last matrix."""
    corners = [(0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)]
    return [
        (pair, *place)
        for pair in sorted({0, pairs - 1})
        for place in [*corners, (rows // 2, columns // 2)]
    ]


def _accumulate(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sequential fused multiply-adds in float32 along the last dimension of [places, k]."""
    # exact products, and sums so precise that the only rounding is that to float32
    products = a.T.astype(np.longdouble) * b.T
    total = np.zeros(len(a), dtype=np.float32)
    for product in products:
        total = (product + total).astype(np.float32)
    return total
