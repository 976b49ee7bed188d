"""Which optimizer trains which weights."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tinyllm.kernels.products import Products
from tinyllm.model.transformer import Transformer
from tinyllm.training.adamw import AdamW
from tinyllm.training.base_optimizer import Optimizer
from tinyllm.training.bounded import BoundedSteps, equal_rows, soft_signs
from tinyllm.training.config import TrainingConfig
from tinyllm.training.muon import Muon
from tinyllm.training.schedule import learning_rate_factor

if TYPE_CHECKING:
    from tinyllm.training.shards import Shards

# how many separate matrices a fused weight holds
_FUSED = {"qkv_proj": 3, "gate_up_proj": 2}
# relative to the learning rate
_OUTPUT_STEP, _OUTPUT_DECAY, _SCALE_STEP = 12.0, 0.1, 0.3


def _muon(
    named: Mapping[str, Tensor],
    config: TrainingConfig,
    products: Products,
    shards: "Shards | None",
) -> list[Optimizer]:
    """Muon inside the blocks, bounded steps for embedding and output layer, AdamW for scales."""
    inside, embedding, output, scales = _kinds(named)
    pairs = [(p, _FUSED.get(name.split(".")[-2], 1)) for name, p in inside.items()]
    settings = {
        "lr": config.learning_rate,
        "momentum": config.momentum,
        "beta2": config.muon_beta2,
        "weight_decay": config.weight_decay,
    }
    if shards is None:
        muon = Muon(pairs, products, **settings)
    else:
        from tinyllm.training.sharded_muon import ShardedMuon  # noqa: PLC0415 - imports FSDP, which is slow

        muon = ShardedMuon(pairs, products, shards, **settings)
    rate, momentum = config.embedding_learning_rate, config.momentum
    # an embedding that is the output layer too moves as that may
    logits, vectors = (output, embedding) if output else (embedding, {})
    step = (_OUTPUT_STEP, _OUTPUT_DECAY)
    bounded: list[Optimizer] = [
        BoundedSteps(logits.values(), soft_signs, rate, momentum, *step),
        BoundedSteps(vectors.values(), equal_rows, rate, momentum, 1.0, 1.0),
    ]
    betas = (config.adam_beta1, config.adam_beta2)
    return [muon, *bounded, AdamW(scales.values(), _SCALE_STEP * rate, betas, weight_decay=0.0)]


def _adamw(
    named: Mapping[str, Tensor], config: TrainingConfig, _: Products, __: "Shards | None"
) -> list[Optimizer]:
    """AdamW for all weights, with decay for the matrices inside the blocks."""
    inside, embedding, output, scales = _kinds(named)
    parts = (
        (inside, config.learning_rate, config.weight_decay),
        (embedding | output | scales, config.embedding_learning_rate, 0.0),
    )
    betas = (config.adam_beta1, config.adam_beta2)
    return [AdamW(part.values(), rate, betas, weight_decay=decay) for part, rate, decay in parts]


def _kinds(named: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], ...]:
    """Matrices inside the blocks, embedding, output layer and the scales of norms, by name."""

    def those(wanted: Callable[[str, Tensor], bool]) -> dict[str, Tensor]:
        return {name: weight for name, weight in named.items() if wanted(name, weight)}

    return (
        those(lambda name, weight: name.startswith("blocks.") and weight.ndim == 2),
        those(lambda name, _: name.startswith("embedding.")),
        those(lambda name, _: name.startswith("lm_head.")),
        those(lambda _, weight: weight.ndim == 1),
    )


_Build = Callable[
    [Mapping[str, Tensor], TrainingConfig, Products, "Shards | None"],
    list[Optimizer],
]
# `train.optimizer` -> optimizers, which together have all of the weights, given by name
OPTIMIZERS: dict[str, _Build] = {
    "muon": _muon,
    "adamw": _adamw,
}


class Optimizers:
    """Those that an entry of `OPTIMIZERS` makes for all weights of a model.

    If the model is shared out, they update this process's rows of its weights.
    """

    def __init__(
        self,
        model: Transformer,
        config: TrainingConfig,
        products: Products,
        shards: "Shards | None" = None,
    ) -> None:
        self.config, self.shards = config, shards
        named = shards.weights if shards else dict(model.named_parameters())
        self.all = OPTIMIZERS[config.optimizer](named, config, products, shards)
        self.parameters = list(named.values())
        self._peaks = [optimizer.param_groups[0]["lr"] for optimizer in self.all]

    def step(self, step: int) -> None:
        """Update all weights with the learning rate of `step` (counted from 0)."""
        factor = learning_rate_factor(step, self.config)
        for optimizer, peak in zip(self.all, self._peaks, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * factor
            optimizer.step()
            optimizer.zero_grad()

    def clip_gradients(self) -> Tensor:
        """Scale the gradients to at most the norm allowed; return the norm before."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = global_norm(gradients)
        if self.shards:
            norm = self.shards.norm(norm)
        if self.config.gradient_clip > 0:
            factor = (self.config.gradient_clip / (norm + 1e-6)).clamp(max=1.0)
            torch._foreach_mul_(gradients, factor)
        return norm

    def state_tensors(self) -> dict[str, Tensor]:
        """The tensors of the optimizers' states, by stable names; shared out like the weights."""
        found = {}
        for position, optimizer in enumerate(self.all):
            weights = optimizer.param_groups[0]["params"]
            for index, state in optimizer.state_dict()["state"].items():
                for key, value in state.items():
                    whole = self.shards.as_whole(value, weights[index]) if self.shards else value
                    found[f"{position}.{index}.{key}"] = whole
        return found

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Restore what `state_tensors` returned."""
        if self.shards:
            tensors = self.shards.own_rows(tensors)
        for position, optimizer in enumerate(self.all):
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors.items():
                owner, index, key = name.split(".", 2)
                if int(owner) == position:
                    state.setdefault(int(index), {})[key] = value
            whole = optimizer.state_dict()
            optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})


def global_norm(tensors: list[Tensor]) -> Tensor:
    """Euclidean norm of all tensors together.

    On the CPU by rows first: a full sum of a large tensor depends on the number of threads.
    """
    if tensors[0].device.type != "cpu":
        whole: Tensor = torch.nn.utils.get_total_norm(tensors)
        return whole
    rows = [torch.linalg.vector_norm(tensor, dim=-1).reshape(1, -1) for tensor in tensors]
    by_tensor = torch.cat([torch.linalg.vector_norm(row, dim=1) for row in rows])
    norm: Tensor = torch.linalg.vector_norm(by_tensor.view(1, -1), dim=1)[0]
    return norm
