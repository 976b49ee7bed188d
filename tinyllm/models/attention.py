"""Causal attention with normalised and rotated queries and keys.

On the CPU the whole of it is one operation of its own, forward and backward, so that queries, keys
and values are written once, in the order in which the products read them.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tinyllm.models.elementwise import add_product
from tinyllm.models.functional import onednn_applies, rms_norm
from tinyllm.models.scores import attend, attend_back


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


class _Attention(torch.autograd.Function):
    """Norm, rotation and attention, with characters last in memory.

    A head has too few features for operations to run along them.
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
        batch, time, _, heads, width = qkv.shape
        # [3, heads, head_dim, batch, time]; no copy where `norm_linear` has written it so
        x = qkv.permute(2, 3, 4, 0, 1).contiguous()
        inverse = _inverse_rms_of_features(x[:2], eps)
        normal = x[:2] * inverse
        # the scale of the scores goes with the queries
        weights = torch.stack((scales[0] / math.sqrt(width), scales[1])).view(2, 1, width, 1, 1)
        tables = tuple(table.squeeze(1).t().contiguous()[:, None] for table in (cosines, sines))
        queries_keys = qkv.new_empty(2, batch, heads, width, time)
        _rotate_into(queries_keys.permute(0, 2, 3, 1, 4), normal, weights, *tables)
        q, k = queries_keys
        result, saved = attend(q, k, x[2].permute(2, 0, 1, 3), mask)
        ctx.save_for_backward(normal, inverse, weights, *tables, *saved)
        return result.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        normal, inverse, weights, cosines, sines, *saved = ctx.saved_tensors
        _, heads, width, batch, time = normal.shape
        gradients = attend_back(grad.transpose(1, 2), tuple(saved))
        grad_q, grad_k, grad_v = (x.permute(1, 2, 0, 3) for x in gradients)
        turned = torch.empty_like(normal)
        for target, source in zip(turned, (grad_q, grad_k), strict=True):
            _rotate_back(target, source.contiguous(), cosines, sines)
        by_weight = turned * normal
        # along the characters first, so that each of the many sums is one thread's
        grad_weights = by_weight.flatten(3).sum(dim=-1).sum(dim=1)
        grad_scales = torch.stack((grad_weights[0] / math.sqrt(width), grad_weights[1]))
        along = by_weight.mul_(weights).sum(dim=2, keepdim=True).div_(width)
        grad_qkv = grad.new_empty(3, heads, width, batch, time)
        turned = add_product(turned.mul_(weights), normal, along, sign=-1)
        torch.mul(turned, inverse, out=grad_qkv[:2])
        grad_qkv[2].copy_(grad_v)
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
    add_product(target_first, second, sines * second_weights, sign=-1)
    torch.mul(second, cosines * second_weights, out=target_second)
    add_product(target_second, first, sines * first_weights)


def _rotate_back(target: Tensor, grad: Tensor, cosines: Tensor, sines: Tensor) -> None:
    """Rotate the halves of a gradient [heads, head_dim, batch, time] back into `target`."""
    first, second = grad.chunk(2, dim=1)
    target_first, target_second = target.chunk(2, dim=1)
    torch.mul(first, cosines, out=target_first)
    add_product(target_first, second, sines)
    torch.mul(second, cosines, out=target_second)
    add_product(target_second, first, sines, sign=-1)
