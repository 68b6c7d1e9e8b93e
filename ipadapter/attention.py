"""Attention over image tokens, beside the text's.

What is constant over the steps (keys and values, their scale, the masks) comes in ready. For
references of few tokens, all of them share one pass: out of the kernels below only the two matrix
products grow with their number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

MAX_FUSED_TOKENS = 128  # beyond, the scores of [queries, tokens] cost more than a call saves


class Rows(NamedTuple):
    """Keys and values of references of one token count, one row per share of the batch.

    Fused: k [rows, heads, dim, references * tokens], with the scale 1 / sqrt(dim) folded in, and
    v [rows, heads, references * tokens, dim].
    Long (one reference of many tokens): k and v [rows, tokens, heads * dim].
    """

    k: Tensor
    v: Tensor
    references: int

    @property
    def fused(self) -> bool:
        return self.k.ndim == 4


def add_references(
    text: Tensor, q: Tensor, rows: Rows, mask: Tensor | None, heads: int, attention: Attention
) -> Tensor:
    """Add what the references contribute onto the text's attention.

    text, q: [batch, queries, heads * dim], where the batch holds one or more latents per row.
    mask: [rows or 1, 1, latents * queries, references, 1], the last three of it for long rows
    being [latents * queries, 1]; None acts everywhere.
    """
    if rows.fused:
        return _add_fused(text, q, rows, mask, heads)
    batched = q.reshape(len(rows.k), -1, q.shape[-1])  # [rows, latents * queries, heads * dim]
    out = attention(batched, rows.k, rows.v, heads)
    if mask is not None:
        out = out * mask[:, 0, :, :, 0]
    return text + out.reshape(text.shape)


def _add_fused(text: Tensor, q: Tensor, rows: Rows, mask: Tensor | None, heads: int) -> Tensor:
    count = len(rows.k)
    q = q.view(count, -1, heads, q.shape[-1] // heads).transpose(1, 2)
    scores = torch.matmul(q, rows.k)  # [rows, heads, latents * queries, references * tokens]
    each = scores.view(*scores.shape[:-1], rows.references, -1).softmax(-1)
    if mask is not None:
        each = each.mul_(mask)
    out = torch.matmul(each.view(scores.shape), rows.v).transpose(1, 2)
    return (text.view(out.shape) + out).view(text.shape)


# (q, k, v, heads) -> out, all [batch, tokens, heads * dim]
Attention = Callable[[Tensor, Tensor, Tensor, int], Tensor]
