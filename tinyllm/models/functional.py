"""The arithmetic that decides speed and repeatability: linear layers, rotary embedding, SwiGLU.

On the CPU, torch's own linear layer calls MKL. oneDNN, which torch carries too, is quicker on
many CPUs and, capped to AVX2 by `tinyllm.numerics`, gives the same bits on all of them and for
any number of threads; MKL does neither.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Return x W^T: `x` [..., inputs], `weight` [outputs, inputs] -> [..., outputs]."""
    if _onednn_applies(x):
        if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
            return _OneDNNLinear.apply(x, weight)  # type: ignore[no-any-return,no-untyped-call]
        return matmul_transposed(x, weight)
    return F.linear(x, weight)


def matmul_transposed(a: Tensor, b: Tensor) -> Tensor:
    """Return a b^T through oneDNN on float32 CPU tensors: [..., k] and [n, k] -> [..., n]."""
    return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")  # type: ignore[no-any-return]  # noqa: SLF001


def rotary_table(length: int, head_dim: int, theta: float) -> Tensor:
    """Rotations of rotary position embedding: complex [length, head_dim / 2], of modulus one.

    Su et al. 2021, https://arxiv.org/abs/2104.09864. Computed in double precision by the C
    library, so that rounding to float32 hides what its versions do in the last digit.
    """
    rates = [theta ** (-2 * index / head_dim) for index in range(head_dim // 2)]
    angles = [[position * rate for rate in rates] for position in range(length)]
    cosines = torch.tensor([[math.cos(angle) for angle in row] for row in angles])
    sines = torch.tensor([[math.sin(angle) for angle in row] for row in angles])
    return torch.complex(cosines, sines)


def rotate(x: Tensor, rotations: Tensor) -> Tensor:
    """Rotate neighbouring pairs of the last dimension of `x` [batch, time, heads, head_dim].

    One complex product is eight times as quick as the usual two halves and their four products.
    `rotations` is complex [time, head_dim / 2].
    """
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotations.unsqueeze(1)).flatten(-2).to(x.dtype)


def swiglu(gate_and_up: Tensor) -> Tensor:
    """Return silu(gate) * up: [..., 2 n] -> [..., n]; Shazeer 2020, arXiv:2002.05202."""
    if torch.is_grad_enabled() and gate_and_up.requires_grad:
        return _SwiGLU.apply(gate_and_up)  # type: ignore[no-any-return,no-untyped-call]
    gate, up = gate_and_up.chunk(2, dim=-1)
    return F.silu(gate) * up


class _OneDNNLinear(torch.autograd.Function):
    """A linear layer whose three products all go through oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return matmul_transposed(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = matmul_transposed(grad, weight.t())
        if ctx.needs_input_grad[1]:
            rows = grad.reshape(-1, grad.shape[-1])
            inputs = x.reshape(-1, x.shape[-1])
            # this way round oneDNN is quicker than with rows.t() first
            grad_weight = matmul_transposed(inputs.t(), rows.t()).t()
        return grad_x, grad_weight


class _SwiGLU(torch.autograd.Function):
    """SwiGLU whose backward pass writes both halves of the gradient in place."""

    @staticmethod
    def forward(ctx: Any, gate_and_up: Tensor) -> Tensor:
        gate, up = gate_and_up.chunk(2, dim=-1)
        activated = F.silu(gate)
        ctx.save_for_backward(gate_and_up, activated)
        return activated * up

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        gate_and_up, activated = ctx.saved_tensors
        gate, up = gate_and_up.chunk(2, dim=-1)
        result = torch.empty_like(gate_and_up)
        grad_gate, grad_up = result.chunk(2, dim=-1)
        torch.mul(grad, activated, out=grad_up)
        torch.ops.aten.silu_backward.grad_input(grad * up, gate, grad_input=grad_gate)
        return result


def _onednn_applies(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.compiler.is_compiling()
        and torch.backends.mkldnn.is_available()
    )
