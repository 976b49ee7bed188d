"""Muon: momentum whose matrices are orthogonalised by a Newton-Schulz iteration.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon. Unlike torch's, this one works in
float32 through oneDNN on the CPU (the same bits on every CPU under `tinyllm.numerics`), on all
matrices of a shape at once, and treats the parts of a fused weight as matrices of their own.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from tinyllm.models.functional import batched_matmul

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_EPSILON = 1e-7


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; decoupled weight decay.

    Args:
        parameters: pairs of a weight [rows, columns] and the number of equal parts that its rows
            fall into (3 for fused queries, keys and values).
        lr: learning rate; an update has a root mean square of about lr / sqrt(columns).
        momentum: share of the old momentum kept at each step.
        weight_decay: share of the weight, times lr, taken away at each step.
    """

    def __init__(
        self,
        parameters: Iterable[tuple[Tensor, int]],
        lr: float,
        momentum: float,
        weight_decay: float,
    ) -> None:
        pairs = list(parameters)
        self._parts = {id(weight): parts for weight, parts in pairs}
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__([weight for weight, _ in pairs], defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Update every weight that has a gradient."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._step_group(weights, group)

    def _step_group(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        momenta = [self._momentum(weight) for weight in weights]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        nesterov = torch._foreach_lerp(gradients, momenta, group["momentum"])  # noqa: SLF001
        targets = self._split(weights, weights)
        updates = orthogonalize(self._split(weights, nesterov))
        for update in updates:
            update.mul_(math.sqrt(max(1.0, update.shape[0] / update.shape[1])))
        torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(targets, updates, alpha=-group["lr"])

    def _momentum(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        return state["momentum"]  # type: ignore[no-any-return]

    def _split(self, weights: list[Tensor], tensors: Iterable[Tensor]) -> list[Tensor]:
        return [
            part
            for weight, tensor in zip(weights, tensors, strict=True)
            for part in tensor.chunk(self._parts[id(weight)])
        ]


def orthogonalize(matrices: list[Tensor]) -> list[Tensor]:
    """Bring the singular values of each matrix near one, keeping its singular vectors.

    Five steps of the quintic Newton-Schulz iteration, whose result has singular values between
    about 0.7 and 1.2; that is close enough for an optimizer. Matrices of a shape, transposed or
    not, are worked on together: float32 through oneDNN on the CPU, bfloat16 elsewhere.
    """
    results: dict[int, Tensor] = {}
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, matrix in enumerate(matrices):
        groups.setdefault(tuple(sorted(matrix.shape)), []).append(index)
    for (short, _), indices in groups.items():
        tall = [matrices[i] if matrices[i].shape[1] == short else matrices[i].t() for i in indices]
        for index, result in zip(indices, _newton_schulz(torch.stack(tall)), strict=True):
            results[index] = result if matrices[index].shape[1] == short else result.t()
    return [results[index] for index in range(len(matrices))]


def _newton_schulz(y: Tensor) -> Tensor:
    """Orthogonalise a stack of matrices that are at least as high as wide: [n, high, wide]."""
    on_cpu = y.device.type == "cpu"
    product = batched_matmul if on_cpu else torch.bmm
    # by rows first: a full sum of a large matrix depends on the number of threads
    norms = torch.linalg.vector_norm(torch.linalg.vector_norm(y, dim=2), dim=1)
    x = (y / (norms + _EPSILON)[:, None, None]).to(torch.float32 if on_cpu else torch.bfloat16)
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = product(x.mT.contiguous(), x)
        polynomial = product(gram, gram).mul_(c).add_(gram, alpha=b)
        polynomial.diagonal(dim1=1, dim2=2).add_(a)
        x = product(x, polynomial)
    orthogonal: Tensor = x.to(y.dtype)
    return orthogonal
