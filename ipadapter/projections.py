"""From a picture's CLIP features to image tokens: one class per published adapter family.

``operations`` supplies the layers (torch.nn, or ComfyUI's casting ones); every size is read from
the tensors. Adding a family is one class and one row of FAMILIES.
Mathematics: IP-Adapter (Ye et al. 2023, arXiv:2308.06721), tencent-ailab/IP-Adapter at 62e4af9,
ip_adapter/ip_adapter.py and ip_adapter/resampler.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .errors import IPAdapterError

Tensors = dict[str, Tensor]
# What "no picture" is in training: features that are zero, or the features of zero pixels.
NoImage = Literal["zero features", "zero pixels"]


class Projection(nn.Module, ABC):
    """What every family says of itself."""

    feature: ClassVar[str]  # which CLIP output it reads
    no_image: ClassVar[NoImage]
    width: int  # of that feature
    channels: int  # of the image tokens it gives

    @classmethod
    @abstractmethod
    def matches(cls, tensors: Tensors) -> bool:
        """Whether these ``image_proj`` tensors are of this family."""

    @classmethod
    @abstractmethod
    def from_tensors(cls, tensors: Tensors, operations: Any) -> Projection:
        """A projection of the sizes that the tensors have; its weights come later."""


class ImageProjection(Projection):
    """Base, light and VIT-G: one linear layer on the picture's embedding."""

    feature = "image_embeds"
    no_image = "zero features"

    def __init__(self, width: int, tokens: int, channels: int, operations: Any):
        super().__init__()
        self.width, self.tokens, self.channels = width, tokens, channels
        self.proj = operations.Linear(width, tokens * channels)
        self.norm = operations.LayerNorm(channels)

    @classmethod
    def matches(cls, tensors: Tensors) -> bool:
        return {"proj.weight", "norm.weight"} <= tensors.keys()

    @classmethod
    def from_tensors(cls, tensors: Tensors, operations: Any) -> ImageProjection:
        rows, width = tensors["proj.weight"].shape
        (channels,) = tensors["norm.weight"].shape
        return cls(width, rows // channels, channels, operations)

    def forward(self, features: Tensor) -> Tensor:
        """[images, width] -> [images, tokens, channels]"""
        return self.norm(self.proj(features).unflatten(-1, (self.tokens, -1)))


class FullProjection(Projection):
    """Full Face: every CLIP token becomes an image token."""

    feature = "penultimate_hidden_states"
    no_image = "zero pixels"

    def __init__(self, width: int, hidden: int, channels: int, operations: Any):
        super().__init__()
        self.width, self.channels = width, channels
        self.proj = nn.Sequential(
            operations.Linear(width, hidden),
            nn.GELU(),
            operations.Linear(hidden, channels),
            operations.LayerNorm(channels),
        )

    @classmethod
    def matches(cls, tensors: Tensors) -> bool:
        return "proj.3.weight" in tensors

    @classmethod
    def from_tensors(cls, tensors: Tensors, operations: Any) -> FullProjection:
        hidden, width = tensors["proj.0.weight"].shape
        return cls(width, hidden, tensors["proj.2.weight"].shape[0], operations)

    def forward(self, features: Tensor) -> Tensor:
        """[images, clip tokens, width] -> [images, clip tokens, channels]"""
        return self.proj(features)


class Resampler(Projection):
    """Plus, Plus Face and composition: learned queries read the CLIP tokens (a Perceiver)."""

    feature = "penultimate_hidden_states"
    no_image = "zero pixels"

    def __init__(self, tensors: Tensors, operations: Any):
        super().__init__()
        dim = tensors["latents"].shape[2]
        self.width = tensors["proj_in.weight"].shape[1]
        self.latents = nn.Parameter(torch.empty_like(tensors["latents"]), requires_grad=False)
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

    @classmethod
    def matches(cls, tensors: Tensors) -> bool:
        return {"latents", "proj_in.weight", "layers.0.0.to_q.weight"} <= tensors.keys()

    @classmethod
    def from_tensors(cls, tensors: Tensors, operations: Any) -> Resampler:
        return cls(tensors, operations)

    def forward(self, features: Tensor) -> Tensor:
        """[images, clip tokens, width] -> [images, tokens, channels]"""
        latents = self.latents.to(features).expand(len(features), -1, -1)
        features = self.proj_in(features)
        for layer in self.layers:
            attention, forward = layer.children()
            latents = attention(features, latents) + latents
            latents = forward(latents) + latents
        return self.norm_out(self.proj_out(latents))


class PerceiverAttention(nn.Module):
    """Queries attend to the features and to themselves."""

    dim_head = 64  # of every published resampler

    def __init__(self, dim: int, inner: int, operations: Any):
        super().__init__()
        self.heads = inner // self.dim_head
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
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in qkv)
        out = F.scaled_dot_product_attention(q, k, v)  # [images, heads, tokens, dim_head]
        return self.to_out(out.transpose(1, 2).flatten(2))


def feed_forward(dim: int, hidden: int, operations: Any) -> nn.Sequential:
    return nn.Sequential(
        operations.LayerNorm(dim),
        operations.Linear(dim, hidden, bias=False),
        nn.GELU(),
        operations.Linear(hidden, dim, bias=False),
    )


# From specific to broad.
FAMILIES: list[type[Projection]] = [FullProjection, Resampler, ImageProjection]
FACE_EMBEDDING = 512  # width of what a face recogniser gives; no CLIP feature is so narrow


def find_family(tensors: Tensors, file: str) -> type[Projection]:
    """The class for these ``image_proj`` tensors; IPAdapterError when there is none."""
    face = tensors.get("proj_in.weight", tensors.get("proj.0.weight"))
    if "perceiver_resampler.proj_in.weight" in tensors or (
        face is not None and face.shape[1] == FACE_EMBEDDING
    ):
        raise IPAdapterError(f"{file} is a FaceID adapter, which this version does not support")
    for family in FAMILIES:
        if family.matches(tensors):
            return family
    shown = ", ".join(list(tensors)[:3])
    raise IPAdapterError(f"{file} has an image projection of an unknown kind ({shown}, ...)")
