"""What lies between the products: in fewer passes over memory where nothing has to be repeated.

torch's fused operations round once where two operations round twice, and at the end of a thread's
share not as in its middle. Pinned arithmetic therefore takes operations that round each on its own.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from tinyllm.models.products import is_pinned


def add_product(x: Tensor, a: Tensor, b: Tensor, *, sign: int = 1) -> Tensor:
    """Return x + sign a b, in place of `x`; the sign is 1 or -1."""
    if is_pinned():
        return x.add_(a * b) if sign > 0 else x.sub_(a * b)
    return x.addcmul_(a, b, value=sign)


def swiglu(gate: Tensor, up: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return silu(gate) up, and what `swiglu_back` needs; `gate` may be overwritten."""
    if is_pinned():
        sigmoid = torch.sigmoid(gate)
        activated = gate.mul_(sigmoid)
        return activated * up, (activated, sigmoid)
    activated = F.silu(gate)
    return activated * up, (activated, gate)


def swiglu_back(grad: Tensor, up: Tensor, activated: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of gate and up from that of `swiglu`; all it is given may be overwritten."""
    if is_pinned():
        # silu' = s + silu (1 - s), without another exponential
        slope = (1 - rest).mul_(activated).add_(rest)
        return slope.mul_(up).mul_(grad), activated.mul_(grad)
    return torch.ops.aten.silu_backward(up.mul_(grad), rest), activated.mul_(grad)
