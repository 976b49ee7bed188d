"""The arithmetic of a step on the CPU: linear layers, norms, SwiGLU.

What lies between the products costs as much as they do for small models, so each function writes
as few intermediate tensors as it can; `tinyllm.models.products` multiplies.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tinyllm.models.elementwise import add_product, swiglu, swiglu_back
from tinyllm.models.products import mkl_is_quicker, multiply


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Return x W^T: `x` [..., inputs], `weight` [outputs, inputs] -> [..., outputs]."""
    if not onednn_applies(x):
        return F.linear(x, weight)
    if _needs_gradient(x, weight):
        return _Linear.apply(x, weight)  # type: ignore[no-any-return,no-untyped-call]
    return _linear(x, weight)


def linear_add(x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
    """Return residual + x W^T: [..., inputs], [outputs, inputs], [..., outputs]."""
    if not onednn_applies(x):
        return residual + F.linear(x, weight)
    if _needs_gradient(x, weight):
        return _LinearAdd.apply(x, weight, residual)  # type: ignore[no-any-return,no-untyped-call]
    return _linear(x, weight, residual)


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


def norm_swiglu(x: Tensor, scale: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return silu(gate) * up, where (gate, up) = rms_norm(x, scale) W^T.

    [..., inputs], [inputs], [2 n, inputs] -> [..., n]. SwiGLU: Shazeer 2020, arXiv:2002.05202.
    """
    if onednn_applies(x) and _needs_gradient(x, weight):
        return _NormSwiGLU.apply(x, scale, weight, eps)  # type: ignore[no-any-return,no-untyped-call]
    gate, up = norm_linear(x, scale, weight, eps).chunk(2, dim=-1)
    return F.silu(gate) * up


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
    """A linear layer whose three products are all ours."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _linear(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad_x = _linear(grad, weight.t()) if ctx.needs_input_grad[0] else None
        return grad_x, _weight_gradient(grad, x) if ctx.needs_input_grad[1] else None


class _LinearAdd(torch.autograd.Function):
    """A linear layer that is added to the residual stream as it is written."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _linear(x, weight, residual)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return _linear(grad, weight.t()), _weight_gradient(grad, x), grad


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
            return multiply(scaled, normal.flatten(0, -2).t()).t().view(*x.shape[:-1], -1)
        return _linear(normal, scaled)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        normal, inverse, scale, weight, scaled = ctx.saved_tensors
        grad_scaled = _weight_gradient(grad, normal)
        grad_x = _grad_before_norm(_linear(grad, scaled.t()), normal, inverse)
        grad_scale = (grad_scaled * weight).sum(dim=0)
        return grad_x, grad_scale, grad_scaled.mul_(scale), None, None


class _NormSwiGLU(torch.autograd.Function):
    """Norm, linear layer and SwiGLU; gate and up lie apart, so that all runs along full rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, weight: Tensor, eps: float) -> Tensor:
        inverse = inverse_rms(x, eps)
        normal = x * inverse
        scaled = weight * scale
        gate, up = (_linear(normal, half) for half in scaled.chunk(2))
        result, saved = swiglu(gate, up)
        ctx.save_for_backward(normal, inverse, scale, weight, scaled, up, *saved)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        normal, inverse, scale, weight, scaled, up, *saved = ctx.saved_tensors
        grads = swiglu_back(grad, up, *saved)
        gate_weight, up_weight = scaled.chunk(2)
        grad_normal = _linear(grads[1], up_weight.t(), _linear(grads[0], gate_weight.t()))
        grad_x = _grad_before_norm(grad_normal, normal, inverse)
        grad_scaled = torch.cat([_weight_gradient(half, normal) for half in grads])
        grad_scale = (grad_scaled * weight).sum(dim=0)
        return grad_x, grad_scale, grad_scaled.mul_(scale), None


def _grad_before_norm(grad: Tensor, normal: Tensor, inverse: Tensor) -> Tensor:
    """Gradient of x, in place of the `grad` of `normal` = x * `inverse`."""
    along = (grad * normal).sum(dim=-1, keepdim=True).div_(normal.shape[-1])
    return add_product(grad, normal, along, sign=-1).mul_(inverse)


def _linear(x: Tensor, weight: Tensor, plus: Tensor | None = None) -> Tensor:
    """Return x W^T, or plus + x W^T: [..., inputs], [outputs, inputs] -> [..., outputs]."""
    rows = x.reshape(-1, x.shape[-1])
    plus = None if plus is None else plus.flatten(0, -2)
    return multiply(rows, weight.t(), plus).view(*x.shape[:-1], -1)


def _weight_gradient(grad: Tensor, x: Tensor) -> Tensor:
    """Gradient of a weight [outputs, inputs] from [..., outputs] and [..., inputs]."""
    rows = grad.reshape(-1, grad.shape[-1])
    inputs = x.reshape(-1, x.shape[-1])
    # oneDNN's products are quicker when they are wider than high
    if rows.shape[1] > inputs.shape[1] and not mkl_is_quicker():
        return multiply(inputs.t(), rows).t()
    return multiply(rows.t(), inputs)


def _needs_gradient(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
