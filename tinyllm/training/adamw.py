"""AdamW, by torch's fused kernel: Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from tinyllm.training.base_optimizer import Optimizer

_EPSILON = 1e-8


class AdamW(Optimizer):
    """Adam with decoupled weight decay; the same state and the same bits as `torch.optim.AdamW`.

    Only the fused kernel has the same bits everywhere: the square roots of other implementations
    differ between CPU vendors.

    Args:
        weights: of any shape.
        lr: learning rate.
        betas: decay of the first and the second moment.
        weight_decay: decoupled weight decay, multiplied by lr.
    """

    def __init__(
        self, weights: Iterable[Tensor], lr: float, betas: tuple[float, float], weight_decay: float
    ) -> None:
        super().__init__(weights, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        """Update every weight that has a gradient."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            states = [self._state(weight) for weight in weights]
            settings: dict[str, Any] = {"lr": group["lr"], "weight_decay": group["weight_decay"]}
            settings["beta1"], settings["beta2"] = group["betas"]
            adamw(
                weights,
                [weight.grad for weight in weights],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                [state["step"] for state in states],
                fused=True,
                eps=_EPSILON,
                amsgrad=False,
                maximize=False,
                **settings,
            )

    def _state(self, weight: Tensor) -> dict[str, Tensor]:
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros((), device=weight.device)
            state["exp_avg"] = torch.zeros_like(weight)
            state["exp_avg_sq"] = torch.zeros_like(weight)
        return state
