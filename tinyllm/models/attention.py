"""Causal attention: normalised, rotated queries and keys, and products in pairs.

On the CPU the whole of it is one operation of its own, forward and backward, so that queries, keys
and values are written once, in the order in which the products read them.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tinyllm.models.functional import matmul_transposed, onednn_applies, rms_norm

_BLOCK = 16
# multiplications above which a product of its own is quicker than a share of a convolution
_LARGE = 2**23


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
    first, second = x.chunk(2, dim=-1)
    halves = (first * cosines - second * sines, second * cosines + first * sines)
    return torch.cat(halves, dim=-1).to(x.dtype)


def causal_attention(
    qkv: Tensor, scales: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor, eps: float
) -> Tensor:
    """Causal scaled dot-product attention with normalised and rotated queries and keys.

    Args:
        qkv: queries, keys and values, [batch, time, 3, heads, head_dim].
        scales: the weights of the norms of queries and keys, [2, head_dim].
        rotary: cosines and sines, each [time, 1, head_dim / 2].
        mask: [time, time], zero where a character may look and minus infinity elsewhere.
        eps: epsilon of the norms.

    Returns:
        [batch, time, heads, head_dim].
    """
    if onednn_applies(qkv):
        return _Attention.apply(qkv, scales, *rotary, mask, eps)  # type: ignore[no-any-return,no-untyped-call]
    queries, keys, values = qkv.unbind(2)
    q = rotate(rms_norm(queries, scales[0], eps), *rotary)
    k = rotate(rms_norm(keys, scales[1], eps), *rotary)
    q, k, v = (x.transpose(1, 2) for x in (q, k, values))
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


def matmul_in_pairs(a: Tensor, b: Tensor) -> Tensor:
    """Multiply matrices in pairs, [n, i, k] and [n, k, j]: repeatably, or as fast as MKL can."""
    # what `tinyllm.numerics` sets for portable arithmetic
    if torch.backends.cpu.get_cpu_capability() != "AVX2":
        return torch.bmm(a, b)
    if a.shape[1] * a.shape[2] * b.shape[2] >= _LARGE:
        return torch.stack([matmul_transposed(x, y.t()) for x, y in zip(a, b, strict=True)])
    return batched_matmul(a, b)


class _Attention(torch.autograd.Function):
    """Attention by explicit products; `pair` counts batch times heads.

    Characters lie last in memory: a head has too few features for operations to run along them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        qkv: Tensor,
        scales: Tensor,
        cosines: Tensor,
        sines: Tensor,
        mask: Tensor,
        eps: float,
    ) -> Tensor:
        batch, time, _, heads, width = ctx.shape = qkv.shape
        by_feature = (batch * heads, width, time)
        # [3, heads, head_dim, batch, time]; no copy where `norm_linear` has written it so
        x = qkv.permute(2, 3, 4, 0, 1).contiguous()
        inverse = _inverse_rms_of_features(x[:2], eps)
        normal = x[:2] * inverse
        # the scale of the scores goes with the queries
        weights = torch.stack((scales[0] / math.sqrt(width), scales[1])).view(2, 1, width, 1, 1)
        tables = tuple(table.squeeze(1).t().contiguous()[:, None] for table in (cosines, sines))
        queries_keys = qkv.new_empty(2, batch, heads, width, time)
        _rotate_into(queries_keys.permute(0, 2, 3, 1, 4), normal, weights, *tables)
        q, k = queries_keys.view(2, *by_feature)
        v = x[2].permute(2, 0, 1, 3).reshape(by_feature)
        attention = torch.softmax(matmul_in_pairs(q.mT, k).add_(mask), dim=-1)
        result = matmul_in_pairs(attention, v.mT)
        ctx.save_for_backward(normal, inverse, weights, *tables, q, k, v, attention, result)
        return result.view(batch, heads, time, width).transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        normal, inverse, weights, cosines, sines, q, k, v, attention, result = ctx.saved_tensors
        batch, time, _, heads, width = ctx.shape
        g = grad.transpose(1, 2).reshape(result.shape)
        # the products with the large matrix on the right need no transposed copy of it
        grad_v = matmul_in_pairs(g.mT, attention)
        grad_attention = matmul_in_pairs(g, v)
        # gradient of softmax: torch's own sums in an order that depends on the number of threads,
        # and the inner sum is that of the much smaller result with its gradient
        inner = (g * result).sum(dim=-1, keepdim=True)
        grad_scores = grad_attention.sub_(inner).mul_(attention)
        grad_q = matmul_in_pairs(grad_scores, k.mT).mT.contiguous()
        grad_k = matmul_in_pairs(q, grad_scores)
        by_head = [x.view(batch, heads, width, time).permute(1, 2, 0, 3) for x in (grad_q, grad_k)]
        turned = torch.empty_like(normal)
        for target, source in zip(turned, by_head, strict=True):
            _rotate_back(target, source, cosines, sines)
        by_weight = turned * normal
        # along the characters first, so that each of the many sums is one thread's
        grad_weights = by_weight.flatten(3).sum(dim=-1).sum(dim=1)
        grad_scales = torch.stack((grad_weights[0] / math.sqrt(width), grad_weights[1]))
        along = by_weight.mul_(weights).sum(dim=2, keepdim=True).div_(width)
        grad_qkv = grad.new_empty(3, heads, width, batch, time)
        # products and sums apart: fused, they would round as the CPU's vector width has it
        torch.mul(turned.mul_(weights).sub_(normal * along), inverse, out=grad_qkv[:2])
        grad_qkv[2].copy_(grad_v.view(batch, heads, width, time).permute(1, 2, 0, 3))
        return grad_qkv.permute(3, 4, 0, 1, 2), grad_scales, None, None, None, None


def _inverse_rms_of_features(x: Tensor, eps: float) -> Tensor:
    """One over the root mean square: [2, heads, head_dim, batch, time] -> the same, head_dim 1."""
    squares = x.square().sum(dim=2, keepdim=True)
    return squares.mul_(1 / x.shape[2]).add_(eps).rsqrt_()


def _rotate_into(
    target: Tensor, x: Tensor, weights: Tensor, cosines: Tensor, sines: Tensor
) -> None:
    """Scale `x` [2, heads, head_dim, batch, time], then rotate its halves into `target`."""
    first, second = x.chunk(2, dim=2)
    first_weights, second_weights = weights.chunk(2, dim=2)
    target_first, target_second = target.chunk(2, dim=2)
    torch.mul(first, cosines * first_weights, out=target_first)
    target_first.sub_(second * (sines * second_weights))
    torch.mul(second, cosines * second_weights, out=target_second)
    target_second.add_(first * (sines * first_weights))


def _rotate_back(target: Tensor, grad: Tensor, cosines: Tensor, sines: Tensor) -> None:
    """Rotate the halves of a gradient [heads, head_dim, batch, time] back into `target`."""
    first, second = grad.chunk(2, dim=1)
    target_first, target_second = target.chunk(2, dim=1)
    torch.mul(first, cosines, out=target_first).add_(second * sines)
    torch.mul(second, cosines, out=target_second).sub_(first * sines)
