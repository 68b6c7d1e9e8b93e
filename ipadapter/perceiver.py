"""The Perceiver of the Plus and FaceID Plus families: queries that read a picture's CLIP tokens.

Mathematics: tencent-ailab/IP-Adapter at 62e4af9, ip_adapter/resampler.py.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

Tensors = dict[str, Tensor]


def whole(size: int, part: int) -> int:
    """How many parts make the size; ValueError if none do."""
    count, rest = divmod(size, part)
    if rest or not count:
        raise ValueError(f"{size} numbers are no multiple of {part}")
    return count


class Perceiver(nn.Module):
    """Layers in which queries attend to features and to themselves, between two projections."""

    width: int  # of the features
    channels: int  # of what it gives

    def __init__(self, tensors: Tensors, operations: Any):
        super().__init__()
        dim, self.width = tensors["proj_in.weight"].shape
        self.proj_in = operations.Linear(self.width, dim)
        self.channels = tensors["proj_out.weight"].shape[0]
        self.proj_out = operations.Linear(dim, self.channels)
        self.norm_out = operations.LayerNorm(self.channels)
        depth = len([key for key in tensors if key.endswith(".to_kv.weight")])
        inner = tensors["layers.0.0.to_q.weight"].shape[0]
        hidden = tensors["layers.0.1.1.weight"].shape[0]
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [PerceiverAttention(dim, inner, operations), feed_forward(dim, hidden, operations)]
            )
            for _ in range(depth)
        )

    def read(self, features: Tensor, queries: Tensor) -> Tensor:
        """[images, clip tokens, width], [images, queries, dim] -> [images, queries, channels]"""
        features = self.proj_in(features)
        for layer in self.layers:
            attention, forward = layer.children()
            queries = attention(features, queries) + queries
            queries = forward(queries) + queries
        return self.norm_out(self.proj_out(queries))


class PerceiverAttention(nn.Module):
    """Queries attend to the features and to themselves."""

    dim_head = 64  # of every published resampler

    def __init__(self, dim: int, inner: int, operations: Any):
        super().__init__()
        self.heads = whole(inner, self.dim_head)
        self.norm1 = operations.LayerNorm(dim)
        self.norm2 = operations.LayerNorm(dim)
        self.to_q = operations.Linear(dim, inner, bias=False)
        self.to_kv = operations.Linear(dim, inner * 2, bias=False)
        self.to_out = operations.Linear(inner, dim, bias=False)

    def forward(self, features: Tensor, latents: Tensor) -> Tensor:
        """[images, clip tokens, dim], [images, tokens, dim] -> [images, tokens, dim]"""
        latents = self.norm2(latents)
        seen = torch.cat([self.norm1(features), latents], dim=1)
        qkv = [self.to_q(latents), *self.to_kv(seen).chunk(2, dim=-1)]
        q, k, v = (
            rearrange(x, "images tokens (heads dim) -> images heads tokens dim", heads=self.heads)
            for x in qkv
        )
        out = F.scaled_dot_product_attention(q, k, v)
        return self.to_out(rearrange(out, "images heads tokens dim -> images tokens (heads dim)"))


def feed_forward(dim: int, hidden: int, operations: Any) -> nn.Sequential:
    return nn.Sequential(
        operations.LayerNorm(dim),
        operations.Linear(dim, hidden, bias=False),
        nn.GELU(),
        operations.Linear(hidden, dim, bias=False),
    )
