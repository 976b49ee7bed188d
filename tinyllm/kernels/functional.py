"""Linear layers, norms and SwiGLU on the CPU, forward and backward in few passes over memory.

In small models the operations between the products cost as much as the products, so each function
writes as few intermediate tensors as it can. Activations and their gradients are in float32 or in
bfloat16, as they come in; weights, their gradients and the statistics of norms are in float32.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import RMSNorm

from tinyllm.kernels.arithmetic import Arithmetic

Gradients = tuple[Tensor | None, ...]


def linear(x: Tensor, weight: Tensor, arithmetic: Arithmetic) -> Tensor:
    """Return x W^T: `x` [..., inputs], `weight` [outputs, inputs] -> [..., outputs]."""
    return _Linear.apply(x, weight, arithmetic)  # type: ignore[no-any-return,no-untyped-call]  # torch has no types for it


def linear_add(x: Tensor, weight: Tensor, residual: Tensor, arithmetic: Arithmetic) -> Tensor:
    """Return residual + x W^T: [..., inputs], [outputs, inputs], [..., outputs]."""
    return _LinearAdd.apply(x, weight, residual, arithmetic)  # type: ignore[no-any-return,no-untyped-call]  # torch has no types for it


def norm_linear(
    x: Tensor, norm: RMSNorm, weight: Tensor, arithmetic: Arithmetic, *, features_first: bool
) -> Tensor:
    """Return norm(x) W^T: [..., inputs], [outputs, inputs] -> [..., outputs].

    With `features_first` the result is laid out in memory as [outputs, ...].
    """
    arguments = (x, norm.weight, weight, norm.eps, arithmetic, features_first)
    return _NormLinear.apply(*arguments)  # type: ignore[no-any-return,no-untyped-call]  # torch has no types for it


def norm_swiglu(x: Tensor, norm: RMSNorm, weight: Tensor, arithmetic: Arithmetic) -> Tensor:
    """Return silu(gate) * up, where (gate, up) = norm(x) W^T: [2 n, inputs] -> [..., n]."""
    return _NormSwiGLU.apply(x, norm.weight, weight, norm.eps, arithmetic)  # type: ignore[no-any-return,no-untyped-call]  # torch has no types for it


class _Linear(Function):
    """A linear layer with our products, forward and backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, arithmetic: Arithmetic) -> Tensor:
        weight = weight.to(x.dtype)
        ctx.save_for_backward(x, weight)
        ctx.arithmetic = arithmetic
        return _linear(x, weight, arithmetic)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        x, weight = ctx.saved_tensors
        grad_x = _linear(grad, weight.t(), ctx.arithmetic)
        return grad_x, _weight_gradient(grad, x, ctx.arithmetic), None


class _LinearAdd(Function):
    """A linear layer that adds its result to the residual stream in the same pass."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, residual: Tensor, arithmetic: Arithmetic
    ) -> Tensor:
        weight = weight.to(x.dtype)
        ctx.save_for_backward(x, weight)
        ctx.arithmetic = arithmetic
        return _linear(x, weight, arithmetic, residual)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        x, weight = ctx.saved_tensors
        grad_x = _linear(grad, weight.t(), ctx.arithmetic)
        return grad_x, _weight_gradient(grad, x, ctx.arithmetic), grad, None


class _NormLinear(Function):
    """Norm and linear layer; the scale goes into the small weight, not the large activations."""

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - autograd takes no bundles of tensors
        ctx: Any,
        x: Tensor,
        scale: Tensor,
        weight: Tensor,
        eps: float,
        arithmetic: Arithmetic,
        features_first: bool,
    ) -> Tensor:
        inverse = _inverse_rms(x, eps)
        normal = x * inverse
        scaled = (weight * scale).to(x.dtype)
        ctx.save_for_backward(normal, inverse, scale, weight, scaled)
        ctx.arithmetic = arithmetic
        if not features_first:
            return _linear(normal, scaled, arithmetic)
        product = arithmetic.products.multiply(scaled, normal.flatten(0, -2).t())
        return product.t().view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        normal, inverse, scale, weight, scaled = ctx.saved_tensors
        grad_scaled = _weight_gradient(grad, normal, ctx.arithmetic)
        grad_normal = _linear(grad, scaled.t(), ctx.arithmetic)
        grad_x = _grad_before_norm(grad_normal, normal, inverse, ctx.arithmetic)
        grad_scale = (grad_scaled * weight).sum(dim=0)
        return grad_x, grad_scale, grad_scaled.mul_(scale), None, None, None


class _NormSwiGLU(Function):
    """Norm, linear layer and SwiGLU; gate and up are separate, so that rows are contiguous."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, weight: Tensor, eps: float, arithmetic: Arithmetic
    ) -> Tensor:
        inverse = _inverse_rms(x, eps)
        normal = x * inverse
        scaled = (weight * scale).to(x.dtype)
        gate, up = (_linear(normal, half, arithmetic) for half in scaled.chunk(2))
        result, saved = arithmetic.swiglu(gate, up)
        ctx.save_for_backward(normal, inverse, scale, weight, scaled, up, *saved)
        ctx.arithmetic = arithmetic
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        normal, inverse, scale, weight, scaled, up, *saved = ctx.saved_tensors
        arithmetic = ctx.arithmetic
        grads = arithmetic.swiglu_backward(grad, up, *saved)
        gate_weight, up_weight = scaled.chunk(2)
        grad_normal = _linear(grads[0], gate_weight.t(), arithmetic)
        grad_normal = _linear(grads[1], up_weight.t(), arithmetic, grad_normal)
        grad_x = _grad_before_norm(grad_normal, normal, inverse, arithmetic)
        grad_scaled = torch.cat([_weight_gradient(half, normal, arithmetic) for half in grads])
        grad_scale = (grad_scaled * weight).sum(dim=0)
        return grad_x, grad_scale, grad_scaled.mul_(scale), None, None


def _inverse_rms(x: Tensor, eps: float) -> Tensor:
    """One over the root mean square of the last dimension: [..., n] -> [..., 1].

    Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467.
    """
    norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    return norm.square_().mul_(1 / x.shape[-1]).add_(eps).rsqrt_().to(x.dtype)


def _grad_before_norm(
    grad: Tensor, normal: Tensor, inverse: Tensor, arithmetic: Arithmetic
) -> Tensor:
    """Gradient of x from that of `normal` = x * `inverse`, in place of `grad`."""
    along = (grad * normal).sum(dim=-1, keepdim=True).div_(normal.shape[-1])
    return arithmetic.add_product(grad, normal, along, sign=-1).mul_(inverse)


def _linear(
    x: Tensor, weight: Tensor, arithmetic: Arithmetic, plus: Tensor | None = None
) -> Tensor:
    """Return x W^T, or plus + x W^T: [..., inputs], [outputs, inputs] -> [..., outputs]."""
    rows = x.reshape(-1, x.shape[-1])
    plus = None if plus is None else plus.flatten(0, -2)
    return arithmetic.products.multiply(rows, weight.t(), plus).view(*x.shape[:-1], -1)


def _weight_gradient(grad: Tensor, x: Tensor, arithmetic: Arithmetic) -> Tensor:
    """Gradient of a weight [outputs, inputs], float32, from [..., outputs] and [..., inputs]."""
    products = arithmetic.products
    rows = grad.reshape(-1, grad.shape[-1])
    inputs = x.reshape(-1, x.shape[-1])
    # oneDNN is faster if the product is wider than high
    if rows.shape[1] > inputs.shape[1] and not products.by_mkl:
        return products.multiply(inputs.t(), rows).t().float()
    return products.multiply(rows.t(), inputs).float()
