"""How to compute: decided once per process by `setup_numerics`, and passed on."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from tinyllm.kernels.contention import Contention
from tinyllm.kernels.products import OnednnProducts, Products, has_onednn


@dataclass(frozen=True)
class Arithmetic:
    """Device, precision, matrix products, and the elementwise operations between them.

    torch's fused operations round once where two operations round twice, but not at the end of a
    thread's share. Portable arithmetic therefore uses operations that round separately; fast
    arithmetic prefers fewer passes over memory. `compiler` is a back end of `torch.compile`, which
    then compiles the plain model; empty for none.
    """

    device: torch.device
    precision: torch.dtype
    portable: bool
    products: Products
    compiler: str = ""
    contention: Contention = field(default_factory=lambda: Contention(1), compare=False)

    @property
    def fused(self) -> bool:
        """Whether to use the functions of `tinyllm.kernels.functional` instead of torch's."""
        on_cpu = self.device.type == "cpu" and torch.backends.mkldnn.is_available()
        return on_cpu and not self.compiler and self.precision in (torch.float32, torch.bfloat16)

    def facts(self) -> dict[str, str]:
        """Mode, device and precision, as they are used and not as they were asked for."""
        precision = str(self.precision).removeprefix("torch.")
        mode = "portable" if self.portable else "fast"
        return {"mode": mode, "device": self.device.type, "precision": precision}

    def autocast(self) -> torch.autocast:
        """The context for a model's forward pass; our own functions round by themselves."""
        mixed = self.precision == torch.bfloat16 and not self.fused
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=mixed)

    def add_product(self, x: Tensor, a: Tensor, b: Tensor, *, sign: int = 1) -> Tensor:
        """Return x + sign a b, in place of `x`; the sign is 1 or -1."""
        if self.portable:
            return x.add_(a * b) if sign > 0 else x.sub_(a * b)
        return x.addcmul_(a, b, value=sign)

    def swiglu(self, gate: Tensor, up: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return silu(gate) up, and what `swiglu_backward` needs; `gate` may be overwritten."""
        if self.portable:
            sigmoid = torch.sigmoid(gate)
            activated = gate.mul_(sigmoid)
            return activated * up, (activated, sigmoid)
        activated = F.silu(gate)
        return activated * up, (activated, gate)

    def swiglu_backward(
        self, grad: Tensor, up: Tensor, activated: Tensor, rest: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Gradients of gate and up from that of `swiglu`; all arguments may be overwritten."""
        if self.portable:
            # silu' = s + silu (1 - s), without another exponential
            slope = (1 - rest).mul_(activated).add_(rest)
            return slope.mul_(up).mul_(grad), activated.mul_(grad)
        return torch.ops.aten.silu_backward(up.mul_(grad), rest), activated.mul_(grad)


def default_arithmetic() -> Arithmetic:
    """Float32 on the CPU without changing the process: for generation and notebooks.

    The results for a text do not depend on the other texts in the batch.
    """
    products = OnednnProducts(check=False) if has_onednn() else Products()
    return Arithmetic(torch.device("cpu"), torch.float32, portable=False, products=products)
