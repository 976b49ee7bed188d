"""Softmax attention proper, forward and backward: by products in pairs, or by torch's own kernel.

Queries, keys and values come as [batch, heads, head_dim, time]; the scale of the scores is already
in the queries. The kernel (Dao 2023, https://arxiv.org/abs/2307.08691) never writes the scores out
and leaves out the half behind the mask, but multiplies by MKL, so it serves where MKL does.
"""

import torch
from torch import Tensor

from tinyllm.models.products import mkl_is_quicker, multiply_pairs


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the mixed values [batch, heads, time, head_dim], and what `attend_back` needs."""
    if mkl_is_quicker():
        q, k, v = (x.mT.contiguous() for x in (q, k, v))
        result, normaliser = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(  # noqa: SLF001 - torch has no public one
            q, k, v, 0.0, is_causal=True, scale=1.0
        )
        return result, (q, k, v, result, normaliser)
    batch, heads, width, time = q.shape
    q, k, v = (x.reshape(batch * heads, width, time) for x in (q, k, v))
    attention = torch.softmax(multiply_pairs(q.mT, k).add_(mask), dim=-1)
    result = multiply_pairs(attention, v.mT)
    return result.view(batch, heads, time, width), (q, k, v, result, attention)


def attend_back(grad: Tensor, saved: tuple[Tensor, ...]) -> list[Tensor]:
    """Gradients of queries, keys and values, as `attend` got them, from that of its result."""
    q, k, v, result, rest = saved
    if mkl_is_quicker():
        gradients = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(  # noqa: SLF001 - torch has no public one
            grad, q, k, v, result, rest, 0.0, is_causal=True, scale=1.0
        )
        return [x.mT for x in gradients]
    batch, heads, time, width = grad.shape
    g, attention = grad.reshape(result.shape), rest
    # the products with the large matrix on the right need no transposed copy of it
    grad_v = multiply_pairs(g.mT, attention)
    grad_attention = multiply_pairs(g, v)
    # gradient of softmax: torch's own sums in an order that depends on the number of threads,
    # and the inner sum is that of the much smaller result with its gradient
    inner = (g * result).sum(dim=-1, keepdim=True)
    grad_scores = grad_attention.sub_(inner).mul_(attention)
    grad_q = multiply_pairs(grad_scores, k.mT).mT
    grad_k = multiply_pairs(q, grad_scores)
    return [x.reshape(batch, heads, width, time) for x in (grad_q, grad_k, grad_v)]
