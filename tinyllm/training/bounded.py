"""Steps of bounded size for embedding and output layer, and decay that bounds the weights too.

A gradient says where to go, and the learning rate alone how far, in norms that suit what a weight
does (Pethick et al. 2025, https://arxiv.org/abs/2502.07529): each token's embedding moves by a
vector of the same length, so a rare token learns as much when it occurs as a frequent one, and a
step changes the logits of the output layer by the same amount whatever the width of the model.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from tinyllm.training.base_optimizer import Optimizer

_EPSILON = 1e-12
_SOFTNESS = 0.1


def equal_rows(step: Tensor) -> Tensor:
    """The rows of `step` [rows, columns], each scaled to a root mean square of one."""
    lengths: Tensor = torch.linalg.vector_norm(step, dim=1, keepdim=True)
    return step * (math.sqrt(step.shape[1]) / (lengths + _EPSILON))


def soft_signs(step: Tensor) -> Tensor:
    """The signs of `step` [rows, columns], over the columns: a step in which logits of one change.

    Numbers far below the root mean square of their row count less, so that what rounding leaves of
    a zero has no sign.
    """
    lengths: Tensor = torch.linalg.vector_norm(step, dim=1, keepdim=True)
    floor = lengths.square() * (_SOFTNESS**2 / step.shape[1])
    return step * (step.square() + floor + _EPSILON**2).rsqrt() / step.shape[1]


class BoundedSteps(Optimizer):
    """Nesterov momentum, scaled to steps of a fixed size; decoupled weight decay.

    Args:
        weights: matrices; rows without a gradient, of tokens that did not occur, stay as they are.
        rule: makes a step of size one from the momentum.
        lr: learning rate.
        momentum: decay of the momentum.
        size: of a step, multiplied by lr.
        weight_decay: decoupled weight decay, multiplied by lr; it bounds what the rule makes
            equal to one by size / weight_decay.
    """

    def __init__(
        self,
        weights: Iterable[Tensor],
        rule: Callable[[Tensor], Tensor],
        lr: float,
        momentum: float,
        size: float,
        weight_decay: float,
    ) -> None:
        self._rule = rule
        settings = {"lr": lr, "momentum": momentum, "size": size, "weight_decay": weight_decay}
        super().__init__(weights, settings)

    @torch.no_grad()
    def step(self) -> None:
        """Update every weight that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._step_one(weight, weight.grad, group)

    def _step_one(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"].lerp_(gradient, 1 - group["momentum"])
        step = self._rule(gradient.lerp(momentum, group["momentum"]))
        occurs = gradient.abs().amax(dim=1, keepdim=True) > 0
        weight.mul_(1 - occurs * (group["lr"] * group["weight_decay"]))
        weight.sub_(step * occurs, alpha=group["lr"] * group["size"])
