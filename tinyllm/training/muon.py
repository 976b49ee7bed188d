"""Muon: momentum whose matrices are orthogonalized by a Newton-Schulz iteration.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; with row-normalized updates, Li et
al. 2025, https://arxiv.org/abs/2510.05491. Unlike torch's, this one works in float32 on the CPU
(the same bits on every CPU in portable mode), batches matrices of the same shape, and treats the
matrices of a fused weight separately.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from tinyllm.kernels.products import Products
from tinyllm.training.base_optimizer import Optimizer

# odd polynomials a x + b x^3 + c x^5, each the minimax approximation of one on the interval to
# which the previous ones map the singular values 0.01 to 1: Amsel et al. 2025, arXiv:2505.16932
_COEFFICIENTS = ((8.0934, -23.6204, 17.4462), (3.6366, -2.7219, 0.5365), (2.6613, -1.9772, 0.4526))
_EPSILON = 1e-7
_SMALLEST_SQUARE = 1e-12
_TALL = 2

_Product = Callable[[Tensor, Tensor], Tensor]


class Muon(Optimizer):
    """Nesterov momentum, orthogonalized, row-normalized; decoupled weight decay.

    Args:
        parameters: pairs of a weight [rows, columns] and the number of equal matrices that its
            rows consist of (3 for fused queries, keys and values).
        products: matrix products on the CPU.
        lr: learning rate; an update has a root mean square of about lr / sqrt(columns).
        momentum: decay of the momentum.
        beta2: decay of the mean squares of the updates' rows.
        weight_decay: decoupled weight decay, multiplied by lr.
    """

    def __init__(
        self,
        parameters: Iterable[tuple[Tensor, int]],
        products: Products,
        lr: float,
        momentum: float,
        beta2: float,
        weight_decay: float,
    ) -> None:
        pairs = list(parameters)
        self._counts = {id(weight): count for weight, count in pairs}
        self._products = products
        defaults = {"lr": lr, "momentum": momentum, "beta2": beta2, "weight_decay": weight_decay}
        super().__init__([weight for weight, _ in pairs], defaults)

    @torch.no_grad()
    def step(self) -> None:
        """Update every weight that has a gradient."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._step_group(weights, group)

    def _step_group(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        momenta = [self._state(weight)["momentum"] for weight in weights]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        nesterov = list(torch._foreach_lerp(gradients, momenta, group["momentum"]))  # noqa: SLF001 - torch has no public one
        squares = [self._state(weight)["row_squares"] for weight in weights]
        targets, updates = self._updates(weights, nesterov, squares, group["beta2"])
        torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(targets, updates, alpha=-group["lr"])

    def _updates(
        self, weights: list[Tensor], steps: list[Tensor], squares: list[Tensor], beta2: float
    ) -> tuple[list[Tensor], list[Tensor]]:
        """What to change and the changes, for momenta and mean squares of rows of the weights."""
        targets = self._split(weights, weights)
        return targets, self._matrix_updates(weights, steps, squares, beta2)

    def _matrix_updates(
        self, weights: list[Tensor], steps: list[Tensor], squares: list[Tensor], beta2: float
    ) -> list[Tensor]:
        """The change of each matrix that the weights hold; the mean squares are updated."""
        updates = orthogonalize(self._split(weights, steps), self._products)
        normalize_rows(updates, self._split(weights, squares), beta2)
        torch._foreach_mul_(
            updates, [math.sqrt(max(1.0, u.shape[0] / u.shape[1])) for u in updates]
        )
        return updates

    def _state(self, weight: Tensor) -> dict[str, Tensor]:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
            state["row_squares"] = weight.new_zeros(len(weight), 1)
        return state

    def _split(self, weights: list[Tensor], tensors: Iterable[Tensor]) -> list[Tensor]:
        return [
            matrix
            for weight, tensor in zip(weights, tensors, strict=True)
            for matrix in tensor.chunk(self._counts[id(weight)])
        ]


def normalize_rows(updates: list[Tensor], means: list[Tensor], beta2: float) -> None:
    """Divide the rows of each update by their recent root mean squares, in place.

    An orthogonalized update of a matrix that is not square still moves some neurons much more than
    others. The norm of the whole update is kept. `means`, [rows, 1] for each update, are the
    running means of the squares, and are updated.
    """
    squares = [update.square().mean(dim=1, keepdim=True) for update in updates]
    torch._foreach_lerp_(means, squares, 1 - beta2)
    factors = [mean.add(_SMALLEST_SQUARE).rsqrt_() for mean in means]
    for factor, square in zip(factors, squares, strict=True):
        before, after = square.sum(), (square * factor.square()).sum()
        factor.mul_(((after + _SMALLEST_SQUARE) / (before + _SMALLEST_SQUARE)).rsqrt_())
    torch._foreach_mul_(updates, factors)


def orthogonalize(matrices: list[Tensor], products: Products) -> list[Tensor]:
    """Bring the singular values of each matrix near one, keeping its singular vectors.

    Matrices of the same shape, transposed or not, are batched: in float32 on the CPU, in bfloat16
    on others and where training rounds to it. Singular values above a hundredth of the Frobenius
    norm end up between 0.73 and 1.27, smaller ones below that; close enough for an optimizer.
    """
    results: dict[int, Tensor] = {}
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, matrix in enumerate(matrices):
        groups.setdefault(tuple(sorted(matrix.shape)), []).append(index)
    for (short, _), indices in groups.items():
        tall = [matrices[i] if matrices[i].shape[1] == short else matrices[i].t() for i in indices]
        stack = _newton_schulz(torch.stack(tall), products)
        for index, result in zip(indices, stack, strict=True):
            results[index] = result if matrices[index].shape[1] == short else result.t()
    return [results[index] for index in range(len(matrices))]


def _newton_schulz(y: Tensor, products: Products) -> Tensor:
    """Orthogonalize a stack of matrices that are at least as tall as wide: [n, tall, wide]."""
    product = products.multiply_pairs if y.device.type == "cpu" else torch.bmm
    exact = y.device.type == "cpu" and not products.in_bfloat16
    # by rows first: a full sum of a large matrix depends on the number of threads
    norms = torch.linalg.vector_norm(torch.linalg.vector_norm(y, dim=2), dim=1)
    precision = torch.float32 if exact else torch.bfloat16
    x = (y / (norms + _EPSILON)[:, None, None]).to(precision)
    gram = product(x.mT, x)
    # only float32 is precise enough for so many products of the Gram matrix with itself
    if exact and x.shape[1] >= _TALL * x.shape[2]:
        x = product(x, _whitening(gram, product))
    else:
        for index, coefficients in enumerate(_COEFFICIENTS):
            if index:
                gram = product(x.mT, x)
            x = product(x, _polynomial(gram, coefficients, product))
    orthogonal: Tensor = x.to(y.dtype)
    return orthogonal


def _whitening(gram: Tensor, product: _Product) -> Tensor:
    """The factor that orthogonalizes a tall matrix, from its Gram matrix: [n, wide, wide].

    Each step multiplies the matrix by a polynomial P of its Gram matrix G, which becomes P G P;
    P and G commute. So the tall matrix itself is needed only at the beginning and at the end.
    """
    whitening = polynomial = _polynomial(gram, _COEFFICIENTS[0], product)
    for coefficients in _COEFFICIENTS[1:]:
        gram = product(gram, product(polynomial, polynomial))
        polynomial = _polynomial(gram, coefficients, product)
        whitening = product(whitening, polynomial)
    return whitening


def _polynomial(
    gram: Tensor, coefficients: tuple[float, float, float], product: _Product
) -> Tensor:
    """A I + b G + c G^2."""
    a, b, c = coefficients
    result = product(gram, gram).mul_(c).add_(gram, alpha=b)
    result.diagonal(dim1=1, dim2=2).add_(a)
    return result
