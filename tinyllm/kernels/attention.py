"""Causal attention with normalized and rotated queries and keys, as one operation on the CPU.

Queries, keys and values are written once, in the layout that the products read: tokens last, since
a head has too few features to vectorize over.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from tinyllm.kernels.arithmetic import Arithmetic
from tinyllm.kernels.products import Products
from tinyllm.model.transformer import Rotary

# queries that attend together: fewer waste products with masked keys, more waste calls
_BLOCK = 128


def causal_attention(
    qkv: Tensor, scales: Tensor, rotary: Rotary, mask: Tensor, eps: float, arithmetic: Arithmetic
) -> Tensor:
    """Causal scaled dot-product attention with normalized and rotated queries and keys.

    Args:
        qkv: queries, keys and values, [batch, time, 3, heads, head_dim].
        scales: the weights of the norms of queries and keys, [2, head_dim].
        rotary: cosines and sines, each [time, 1, head_dim / 2].
        mask: [time, time], zero where a token may attend and minus infinity elsewhere.
        eps: epsilon of the norms.
        arithmetic: from `setup_numerics`.

    Returns:
        [batch, time, heads, head_dim].
    """
    return _Attention.apply(qkv, scales, *rotary, mask, eps, arithmetic)  # type: ignore[no-any-return,no-untyped-call]  # torch has no types for it


class _Attention(Function):
    """Norm, rotation and attention."""

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - autograd takes no bundles of tensors
        ctx: Any,
        qkv: Tensor,
        scales: Tensor,
        cosines: Tensor,
        sines: Tensor,
        mask: Tensor,
        eps: float,
        arithmetic: Arithmetic,
    ) -> Tensor:
        batch, time, _, heads, width = qkv.shape
        # [3, heads, head_dim, batch, time]; no copy after `norm_linear` with `features_first`
        x = qkv.permute(2, 3, 4, 0, 1).contiguous()
        inverse = x[:2].square().sum(dim=2, keepdim=True).mul_(1 / width).add_(eps).rsqrt_()
        normal = x[:2] * inverse
        # the scale of the scores goes into the queries
        weights = torch.stack((scales[0] / math.sqrt(width), scales[1])).view(2, 1, width, 1, 1)
        weights = weights.to(x.dtype)
        tables = tuple(
            table.squeeze(1).t().contiguous().to(x.dtype)[:, None] for table in (cosines, sines)
        )
        queries_keys = qkv.new_empty(2, batch, heads, width, time)
        firsts, seconds = (
            tuple(table * half for table in tables) for half in weights.chunk(2, dim=2)
        )
        _rotate(queries_keys.permute(0, 2, 3, 1, 4), normal, firsts, seconds, arithmetic)
        q, k = queries_keys
        result, saved = _attend(q, k, x[2].permute(2, 0, 1, 3), mask, arithmetic)
        ctx.save_for_backward(normal, inverse, weights, *tables, *saved)
        ctx.arithmetic = arithmetic
        return result.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        normal, inverse, weights, cosines, sines, *saved = ctx.saved_tensors
        arithmetic: Arithmetic = ctx.arithmetic
        _, heads, width, batch, time = normal.shape
        gradients = _attend_backward(grad.transpose(1, 2), saved, arithmetic)
        grad_q, grad_k, grad_v = (x.permute(1, 2, 0, 3) for x in gradients)
        turned = torch.empty_like(normal)
        tables = (cosines, sines)
        for target, source in zip(turned, (grad_q, grad_k), strict=True):
            _rotate(target, source.contiguous(), tables, tables, arithmetic, sign=-1)
        by_weight = turned * normal
        # along the tokens first, so that one thread computes each of the many sums
        grad_weights = by_weight.flatten(3).sum(dim=-1).sum(dim=1)
        grad_scales = torch.stack((grad_weights[0] / math.sqrt(width), grad_weights[1]))
        along = by_weight.mul_(weights).sum(dim=2, keepdim=True).div_(width)
        grad_qkv = grad.new_empty(3, heads, width, batch, time)
        turned = arithmetic.add_product(turned.mul_(weights), normal, along, sign=-1)
        torch.mul(turned, inverse, out=grad_qkv[:2])
        grad_qkv[2].copy_(grad_v)
        return grad_qkv.permute(3, 4, 0, 1, 2), grad_scales, None, None, None, None, None


def _rotate(
    target: Tensor,
    x: Tensor,
    firsts: tuple[Tensor, ...],
    seconds: tuple[Tensor, ...],
    arithmetic: Arithmetic,
    *,
    sign: int = 1,
) -> None:
    """Rotate the halves of `x` [..., head_dim, batch, time] into `target`; back if `sign` is -1.

    `firsts` and `seconds` are the cosines and sines for the two halves.
    """
    first, second = x.chunk(2, dim=-3)
    target_first, target_second = target.chunk(2, dim=-3)
    torch.mul(first, firsts[0], out=target_first)
    arithmetic.add_product(target_first, second, seconds[1], sign=-sign)
    torch.mul(second, seconds[0], out=target_second)
    arithmetic.add_product(target_second, first, firsts[1], sign=sign)


def _attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor, arithmetic: Arithmetic
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Mix `v` by softmax(q k): [batch, heads, head_dim, time] -> [batch, heads, time, head_dim].

    Also returns what `_attend_backward` needs.
    """
    products = arithmetic.products
    if _has_kernel(q, products):
        q, k, v = (x.mT.contiguous() for x in (q, k, v))
        result, normalizer = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(  # noqa: SLF001 - torch has no public one
            q, k, v, 0.0, is_causal=True, scale=1.0
        )
        return result, (q, k, v, result, normalizer)
    batch, heads, width, time = q.shape
    q, k, v = (x.reshape(batch * heads, width, time) for x in (q, k, v))
    mask, result = mask.to(q.dtype), q.new_empty(batch * heads, time, width)
    kept = []
    for start, end in _blocks(time):
        scores = products.multiply_pairs(_part(q, start, end).mT, _part(k, 0, end))
        scores[:, :, start:].add_(mask[start:end, start:end])
        attention = torch.softmax(scores, dim=-1)
        result[:, start:end] = products.multiply_pairs(attention, _part(v, 0, end).mT)
        kept.append(attention)
    return result.view(batch, heads, time, width), (q, k, v, result, *kept)


def _blocks(time: int) -> list[tuple[int, int]]:
    """Queries that attend together, to the keys up to their last: half of all pairs is masked."""
    return [(start, min(start + _BLOCK, time)) for start in range(0, time, _BLOCK)]


def _part(x: Tensor, start: int, end: int) -> Tensor:
    """Some tokens of `x` [n, head_dim, time], without gaps, which products are slow with."""
    return x[:, :, start:end].contiguous()


def _has_kernel(x: Tensor, products: Products) -> bool:
    """Whether torch's kernel suits (Dao 2023, https://arxiv.org/abs/2307.08691).

    It never writes out the scores and skips the masked half, but it uses MKL, so it takes longer
    where that does; and three times as long in bfloat16.
    """
    return products.by_mkl and x.dtype == torch.float32


def _attend_backward(
    grad: Tensor, saved: Sequence[Tensor], arithmetic: Arithmetic
) -> Sequence[Tensor]:
    """Gradients of the arguments of `_attend` from that of its result."""
    q, k, v, result, *kept = saved
    products = arithmetic.products
    if _has_kernel(q, products):
        gradients = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(  # noqa: SLF001 - torch has no public one
            grad, q, k, v, result, kept[0], 0.0, is_causal=True, scale=1.0
        )
        return [x.mT for x in gradients]
    batch, heads, time, width = grad.shape
    g = grad.reshape(result.shape)
    # gradient of softmax: torch's own adds in an order that depends on the number of threads, and
    # the inner sum also follows from the much smaller result and its gradient
    inner = (g * result).sum(dim=-1, keepdim=True)
    grad_q, grad_k, grad_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
    for (start, end), attention in zip(_blocks(time), kept, strict=True):
        g_part, q_part = g[:, start:end].contiguous(), _part(q, start, end)
        # with the large matrix on the right, the products need no transposed copy of it
        grad_v[:, :, :end].add_(products.multiply_pairs(g_part.mT, attention))
        grad_scores = products.multiply_pairs(g_part, _part(v, 0, end))
        grad_scores.sub_(inner[:, start:end]).mul_(attention)
        grad_q[:, :, start:end] = products.multiply_pairs(grad_scores, _part(k, 0, end).mT).mT
        grad_k[:, :, :end].add_(products.multiply_pairs(q_part, grad_scores))
    return [x.view(batch, heads, width, time) for x in (grad_q, grad_k, grad_v)]
