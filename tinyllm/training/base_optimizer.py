"""What all optimizers have in common: their weights, the state of each, and how it is kept."""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor


class Optimizer(ABC):
    """The part of `torch.optim.Optimizer` that a run needs, with the same names and meanings.

    It is not derived from torch's, which imports torch's compiler when it is made; that takes as
    long as importing torch.
    """

    def __init__(self, weights: Iterable[Tensor], defaults: Mapping[str, Any]) -> None:
        """Take one group of weights, with its settings."""
        self.param_groups: list[dict[str, Any]] = [{"params": list(weights), **defaults}]
        self.state: defaultdict[Tensor, dict[str, Tensor]] = defaultdict(dict)

    @abstractmethod
    def step(self) -> None:
        """Update every weight that has a gradient."""

    def zero_grad(self) -> None:
        """Let go of the gradients."""
        for weight in self._weights():
            weight.grad = None

    def state_dict(self) -> dict[str, Any]:
        """The state of each weight, by its index, and the settings; the tensors are the run's."""
        weights = self._weights()
        state = {i: self.state[weight] for i, weight in enumerate(weights) if weight in self.state}
        return {"state": state, "param_groups": self.param_groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the state of each weight from what `state_dict` returned."""
        weights = self._weights()
        for index, values in state_dict["state"].items():
            device = weights[index].device
            self.state[weights[index]] = {name: v.to(device) for name, v in values.items()}

    def _weights(self) -> list[Tensor]:
        return [weight for group in self.param_groups for weight in group["params"]]
