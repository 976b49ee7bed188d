"""The arithmetic that decides speed and repeatability: linear layers, norms, rotation, SwiGLU.

On the CPU, torch's own linear layer calls MKL. oneDNN, which torch carries too, is quicker on
many CPUs and, capped to AVX2 by `tinyllm.numerics`, gives the same bits on all of them and for
any number of threads; MKL does neither.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_BLOCK = 16


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


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Divide by the root mean square of the last dimension, then scale: [..., n] -> [..., n].

    Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467.
    """
    if not _onednn_applies(x):
        return F.rms_norm(x, weight.shape, weight, eps)
    if torch.is_grad_enabled() and x.requires_grad:
        return _RMSNorm.apply(x, weight, eps)  # type: ignore[no-any-return,no-untyped-call]
    return x * _inverse_rms(x, eps) * weight


def rotary_tables(length: int, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary position embedding, each [length, head_dim / 2].

    Su et al. 2021, https://arxiv.org/abs/2104.09864. Computed in double precision by the C
    library, so that rounding to float32 hides what its versions do in the last digit.
    """
    rates = [theta ** (-2 * index / head_dim) for index in range(head_dim // 2)]
    angles = [[position * rate for rate in rates] for position in range(length)]
    cosines = torch.tensor([[math.cos(angle) for angle in row] for row in angles])
    sines = torch.tensor([[math.sin(angle) for angle in row] for row in angles])
    return cosines, sines


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotate the halves of the last dimension of `x` [batch, time, heads, head_dim].

    `cosines` and `sines` are [time, 1, head_dim / 2].
    """
    if torch.is_grad_enabled() and x.requires_grad:
        return _Rotation.apply(x, cosines, sines)  # type: ignore[no-any-return,no-untyped-call]
    return _rotate_halves(x, cosines, sines)


def swiglu(gate_and_up: Tensor) -> Tensor:
    """Return silu(gate) * up: [..., 2 n] -> [..., n]; Shazeer 2020, arXiv:2002.05202."""
    if torch.is_grad_enabled() and gate_and_up.requires_grad:
        return _SwiGLU.apply(gate_and_up)  # type: ignore[no-any-return,no-untyped-call]
    gate, up = gate_and_up.chunk(2, dim=-1)
    return F.silu(gate) * up


def causal_attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Causal scaled dot-product attention: four times [batch, time, heads, head_dim].

    `mask` [time, time] holds zero where a character may look and minus infinity elsewhere.
    """
    if _onednn_applies(queries):
        return _OneDNNAttention.apply(queries, keys, values, mask)  # type: ignore[no-any-return,no-untyped-call]
    q, k, v = (x.transpose(1, 2) for x in (queries, keys, values))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)


def batched_matmul(a: Tensor, b: Tensor) -> Tensor:
    """Multiply float32 CPU matrices in pairs through oneDNN: [n, i, k], [n, k, j] -> [n, i, j].

    torch sends its own batched product to MKL; a convolution with a group for each pair and
    kernels of width one is the same product, and goes to oneDNN.
    """
    pairs, rows, inner = a.shape
    columns = b.shape[2]
    # in blocks that are not full, oneDNN's order of summing depends on the number of threads
    more_rows, more_inner = -rows % _BLOCK, -inner % _BLOCK
    if more_rows or more_inner:
        a = F.pad(a, (0, more_inner, 0, more_rows))
        b = F.pad(b, (0, 0, 0, more_inner))
    signal = b.reshape(1, pairs * (inner + more_inner), columns)
    kernels = a.reshape(pairs * (rows + more_rows), inner + more_inner, 1)
    # a kernel of width one has nothing to dilate, but dilation keeps torch from MKL on one thread
    product = F.conv1d(signal, kernels, groups=pairs, dilation=2)
    return product.view(pairs, rows + more_rows, columns)[:, :rows].contiguous()


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


class _OneDNNAttention(torch.autograd.Function):
    """Attention whose products go through oneDNN; `pair` counts batch times heads."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        batch, time, heads, head_dim = ctx.shape = queries.shape
        pairs = batch * heads
        scaled = queries / math.sqrt(head_dim)
        q = scaled.transpose(1, 2).reshape(pairs, time, head_dim)
        k_t = keys.permute(0, 2, 3, 1).reshape(pairs, head_dim, time)
        v = values.transpose(1, 2).reshape(pairs, time, head_dim)
        attention = torch.softmax(batched_matmul(q, k_t).add_(mask), dim=-1)
        result = batched_matmul(attention, v)
        ctx.save_for_backward(q, k_t, v, attention, result)
        return result.view(batch, heads, time, head_dim).transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k_t, v, attention, result = ctx.saved_tensors
        batch, time, heads, head_dim = ctx.shape
        g = grad.transpose(1, 2).reshape(v.shape)
        # the products with the large matrix on the right need no transposed copy of it
        grad_v_t = batched_matmul(g.mT.contiguous(), attention)
        grad_attention = batched_matmul(g, v.mT.contiguous())
        # gradient of softmax: torch's own sums in an order that depends on the number of threads,
        # and the inner sum is that of the much smaller result with its gradient
        inner = (g * result).sum(dim=-1, keepdim=True)
        grad_scores = grad_attention.sub_(inner).mul_(attention)
        grad_q = batched_matmul(grad_scores, k_t.mT.contiguous()).div_(math.sqrt(head_dim))
        grad_k_t = batched_matmul(q.mT.contiguous(), grad_scores)
        transposed = (batch, heads, head_dim, time)
        return (
            grad_q.view(batch, heads, time, head_dim).transpose(1, 2),
            grad_k_t.view(transposed).permute(0, 3, 1, 2),
            grad_v_t.view(transposed).permute(0, 3, 1, 2),
            None,
        )


class _RMSNorm(torch.autograd.Function):
    """The norm in half as many passes over memory as torch's own, which is made of many steps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        inverse = _inverse_rms(x, eps)
        normal = x * inverse
        ctx.save_for_backward(normal, weight, inverse)
        return normal * weight

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        normal, weight, inverse = ctx.saved_tensors
        width = normal.shape[-1]
        grad_by_weight = grad * normal
        along = (grad_by_weight * weight).sum(dim=-1, keepdim=True).div_(width)
        # products and sums apart, as in the rotation
        grad_x = (grad * weight).sub_(normal * along).mul_(inverse)
        return grad_x, grad_by_weight.reshape(-1, width).sum(dim=0), None


class _Rotation(torch.autograd.Function):
    """A rotation, whose gradient is the rotation by the opposite angle."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        ctx.save_for_backward(cosines, sines)
        return _rotate_halves(x, cosines, sines)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cosines, sines = ctx.saved_tensors
        return _rotate_halves(grad, cosines, -sines), None, None


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


def _inverse_rms(x: Tensor, eps: float) -> Tensor:
    """One over the root mean square of the last dimension: [..., n] -> [..., 1]."""
    norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norm.square_().mul_(1 / x.shape[-1]).add_(eps).rsqrt_()


def _rotate_halves(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    result = torch.empty_like(x)
    result_first, result_second = result.chunk(2, dim=-1)
    # products and sums apart: fused, they would round as the CPU's vector width has it
    torch.mul(first, cosines, out=result_first).sub_(second * sines)
    torch.mul(second, cosines, out=result_second).add_(first * sines)
    return result


def _onednn_applies(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and torch.backends.mkldnn.is_available()
    )
