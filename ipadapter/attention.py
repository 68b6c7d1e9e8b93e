"""Attention over image tokens, beside the text's.

What is constant over the steps (keys and values, their scale, the masks) comes in ready. For
references of few tokens, all of them share one pass: out of the kernels below only the two matrix
products grow with their number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor

MAX_FUSED_TOKENS = 128  # beyond, the scores of [queries, tokens] cost more than a call saves


class PackedKV(NamedTuple):
    """Keys and values of references of one token count, one row per share of the batch.

    Fused: k [rows, heads, dim, references * tokens], with the scale 1 / sqrt(dim) folded in, and
    v [rows, heads, references * tokens, dim].
    Long (one reference of many tokens): k and v [rows, tokens, heads * dim].
    """

    k: Tensor
    v: Tensor
    references: int
    heads: int

    @property
    def fused(self) -> bool:
        return self.k.ndim == 4


class AttentionProbe(NamedTuple):
    """Measures how strongly references act, in passing.

    That is, for every query, the sum over heads and tokens of attention times the norm of the value
    (Kobayashi et al. 2020, arXiv:2004.10102), times the mask.
    """

    norms: Tensor  # what ``value_norms`` makes of the rows
    add: Callable[[Tensor], None]  # takes float32 [rows, latents * queries, references]


def value_norms(kv: PackedKV) -> Tensor:
    """The norm of each token's value in each head, in the place of the value.

    Fused: [rows, heads, references * tokens, references], 0 but for a token's own reference. Long:
    [rows, tokens, heads * dim], the same in each channel of a head.
    """
    v = kv.v if kv.fused else _per_head(kv.v, kv.heads)
    norms = _norm(v, 2, -1)[..., None].to(v.dtype)
    if not kv.fused:
        return norms.expand(v.shape).flatten(-2)
    tokens = v.shape[-2] // kv.references
    own = torch.eye(kv.references, dtype=v.dtype, device=v.device)
    return norms * own.repeat_interleave(tokens, dim=0)


def add_references(
    text: Tensor,
    q: Tensor,
    kv: PackedKV,
    mask: Tensor | None,
    attention: Attention,
    probe: AttentionProbe | None = None,
) -> Tensor:
    """Add what the references contribute onto the text's attention.

    Scores are float32 in any precision, as inside of ComfyUI's own attention: in float16 they would
    overflow beyond 65504.

    text, q: [batch, queries, heads * dim], where the batch holds one or more latents per row.
    mask: [rows or 1, 1, latents * queries, references, 1], the last three of it for long rows
    being [latents * queries, 1]; None acts everywhere.
    """
    if kv.fused:
        return _add_fused(text, q, kv, mask, probe)
    batched = q.reshape(len(kv.k), -1, q.shape[-1])  # [rows, latents * queries, heads * dim]
    out = attention(batched, kv.k, kv.v, kv.heads)
    if mask is not None:
        mask = mask[:, 0, :, :, 0]
        out = out * mask
    if probe is not None:
        seen = _per_head(attention(batched, kv.k, probe.norms, kv.heads), kv.heads)
        seen = seen[..., 0].sum(-1, keepdim=True, dtype=torch.float32)
        probe.add(seen if mask is None else seen * mask.abs())
    return text + out.reshape(text.shape)


def _add_fused(
    text: Tensor, q: Tensor, kv: PackedKV, mask: Tensor | None, probe: AttentionProbe | None
) -> Tensor:
    count, heads = len(kv.k), kv.heads
    q = q.view(count, -1, heads, q.shape[-1] // heads).transpose(1, 2)
    q = q.to(torch.float32, memory_format=torch.contiguous_format)
    scores = torch.matmul(q, kv.k.float())  # [rows, heads, latents * queries, references * tokens]
    each = scores.view(*scores.shape[:-1], kv.references, -1).softmax(-1)
    if mask is not None:
        each = each.mul_(mask)
    each = each.view(scores.shape).to(kv.v.dtype)
    if probe is not None:
        seen = torch.matmul(each, probe.norms)
        # A mask below 0 turns the sign of all heads.
        probe.add(_norm(seen, 1, 1))
    out = torch.matmul(each, kv.v).transpose(1, 2)
    return (text.view(out.shape) + out).view(text.shape)


def _per_head(x: Tensor, heads: int) -> Tensor:
    """[..., heads * dim] -> [..., heads, dim]"""
    return x.reshape(*x.shape[:-1], heads, -1)


def _norm(x: Tensor, p: int, dim: int) -> Tensor:
    """The p-norm along a dimension, in float32."""
    norm = torch.linalg.vector_norm  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return cast("Tensor", norm(x, p, dim, dtype=torch.float32))


# (q, k, v, heads) -> out, all [batch, tokens, heads * dim]
Attention = Callable[[Tensor, Tensor, Tensor, int], Tensor]
