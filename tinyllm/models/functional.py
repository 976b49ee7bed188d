"""The arithmetic that decides speed and repeatability: linear layers, norms, SwiGLU.

On the CPU, torch's own linear layer calls MKL. oneDNN, which torch carries too, is quicker on
AMD's CPUs and, capped to AVX2 by `tinyllm.numerics`, gives the same bits on all of them and for
any number of threads; MKL, quicker on Intel's, does not. What lies between the products costs as
much as they do for small models, so each function writes as few intermediate tensors as it can.
"""

import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Return x W^T: `x` [..., inputs], `weight` [outputs, inputs] -> [..., outputs]."""
    if not onednn_applies(x):
        return F.linear(x, weight)
    if _needs_gradient(x, weight):
        return _Linear.apply(x, weight)  # type: ignore[no-any-return,no-untyped-call]
    return matmul_transposed(x, weight)


def linear_add(x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
    """Return residual + x W^T: [..., inputs], [outputs, inputs], [..., outputs]."""
    if not onednn_applies(x):
        return residual + F.linear(x, weight)
    if _needs_gradient(x, weight):
        return _LinearAdd.apply(x, weight, residual)  # type: ignore[no-any-return,no-untyped-call]
    return _matmul_transposed_add(x, weight, residual)


def norm_linear(
    x: Tensor, scale: Tensor, weight: Tensor, eps: float, *, features_first: bool = False
) -> Tensor:
    """Return rms_norm(x, scale) W^T: [..., inputs], [inputs], [outputs, inputs].

    With `features_first` the result may lie in memory as [outputs, ...], in the same shape.
    """
    if onednn_applies(x) and _needs_gradient(x, weight):
        return _NormLinear.apply(x, scale, weight, eps, features_first)  # type: ignore[no-any-return,no-untyped-call]
    return linear(rms_norm(x, scale, eps), weight)


def rms_norm(x: Tensor, scale: Tensor, eps: float) -> Tensor:
    """Divide by the root mean square of the last dimension, then scale: [..., n] -> [..., n].

    Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467.
    """
    if onednn_applies(x) and not _needs_gradient(x, scale):
        return x * inverse_rms(x, eps) * scale
    return F.rms_norm(x, scale.shape, scale, eps)


def swiglu(gate_and_up: Tensor) -> Tensor:
    """Return silu(gate) * up: [..., 2 n] -> [..., n]; Shazeer 2020, arXiv:2002.05202."""
    if onednn_applies(gate_and_up) and _needs_gradient(gate_and_up):
        return _SwiGLU.apply(gate_and_up)  # type: ignore[no-any-return,no-untyped-call]
    gate, up = gate_and_up.chunk(2, dim=-1)
    return F.silu(gate) * up


def matmul_transposed(a: Tensor, b: Tensor) -> Tensor:
    """Return a b^T of float32 CPU tensors: [..., k] and [n, k] -> [..., n]."""
    if _mkl_is_quicker():
        return F.linear(a, b)
    return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")  # type: ignore[no-any-return]  # noqa: SLF001


def inverse_rms(x: Tensor, eps: float) -> Tensor:
    """One over the root mean square of the last dimension: [..., n] -> [..., 1]."""
    norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norm.square_().mul_(1 / x.shape[-1]).add_(eps).rsqrt_()


def onednn_applies(x: Tensor) -> bool:
    """Whether the functions of ours, rather than torch's, compute with `x`."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and torch.backends.mkldnn.is_available()
    )


class _Linear(torch.autograd.Function):
    """A linear layer whose three products all go through oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return matmul_transposed(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad_x = matmul_transposed(grad, weight.t()) if ctx.needs_input_grad[0] else None
        return grad_x, _weight_gradient(grad, x) if ctx.needs_input_grad[1] else None


class _LinearAdd(torch.autograd.Function):
    """A linear layer that oneDNN adds to the residual stream as it writes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _matmul_transposed_add(x, weight, residual)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return matmul_transposed(grad, weight.t()), _weight_gradient(grad, x), grad


class _NormLinear(torch.autograd.Function):
    """A norm whose scale is multiplied into the small weight instead of the large activations."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, weight: Tensor, eps: float, features_first: bool
    ) -> Tensor:
        inverse = inverse_rms(x, eps)
        normal = x * inverse
        scaled = weight * scale
        ctx.save_for_backward(normal, inverse, scale, weight, scaled)
        if features_first:
            return matmul_transposed(scaled, normal.flatten(0, -2)).t().view(*x.shape[:-1], -1)
        return matmul_transposed(normal, scaled)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        normal, inverse, scale, weight, scaled = ctx.saved_tensors
        grad_scaled = _weight_gradient(grad, normal)
        grad_scale = (grad_scaled * weight).sum(dim=0)
        grad_x = matmul_transposed(grad, scaled.t())
        along = (grad_x * normal).sum(dim=-1, keepdim=True).div_(normal.shape[-1])
        # products and sums apart: fused, they would round as the CPU's vector width has it
        grad_x.sub_(normal * along).mul_(inverse)
        return grad_x, grad_scale, grad_scaled.mul_(scale), None, None


class _SwiGLU(torch.autograd.Function):
    """SwiGLU whose backward pass takes no exponentials and writes both halves in place."""

    @staticmethod
    def forward(ctx: Any, gate_and_up: Tensor) -> Tensor:
        gate, up = gate_and_up.chunk(2, dim=-1)
        sigmoid = torch.sigmoid(gate)
        activated = gate * sigmoid
        ctx.save_for_backward(gate_and_up, sigmoid, activated)
        return activated * up

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        gate_and_up, sigmoid, activated = ctx.saved_tensors
        _, up = gate_and_up.chunk(2, dim=-1)
        result = torch.empty_like(gate_and_up)
        grad_gate, grad_up = result.chunk(2, dim=-1)
        torch.mul(grad, activated, out=grad_up)
        # silu' = s + silu (1 - s)
        slope = (1 - sigmoid).mul_(activated).add_(sigmoid)
        torch.mul(slope.mul_(grad), up, out=grad_gate)
        return result


@functools.cache
def _mkl_is_quicker() -> bool:
    """Whether this is an Intel CPU with AVX-512, and the arithmetic is not pinned to AVX2."""
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


def _matmul_transposed_add(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    if _mkl_is_quicker():
        rows = torch.addmm(c.flatten(0, -2), a.flatten(0, -2), b.t())
        return rows.view(c.shape)
    return torch.ops.mkldnn._linear_pointwise.binary(a, c, b, None, "add")  # type: ignore[no-any-return]  # noqa: SLF001


def _weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """Gradient of a weight [outputs, inputs] from [..., outputs] and [..., inputs]."""
    rows = grad.reshape(-1, grad.shape[-1])
    inputs = x.reshape(-1, x.shape[-1])
    # oneDNN is quicker when the product is wider than high
    if rows.shape[1] > inputs.shape[1]:
        return matmul_transposed(inputs.t(), rows.t()).t()
    return matmul_transposed(rows.t(), inputs.t())


def _needs_gradient(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
