"""From a picture's CLIP features to image tokens: one class per published adapter family.

``operations`` supplies the layers (torch.nn, or ComfyUI's casting ones); every size is read from
the tensors. Adding a family is one class and one row of the table below it; those that read faces
are in face_projections.py, and families.py finds the class of a file.
Mathematics: IP-Adapter (Ye et al. 2023, arXiv:2308.06721), tencent-ailab/IP-Adapter at 62e4af9,
ip_adapter/ip_adapter.py and ip_adapter/resampler.py.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from .perceiver import Perceiver, Tensors, whole
from .reference import Features

# What "no picture" is in training: features that are zero, or the features of zero pixels.
NoImage = Literal["zero features", "zero pixels"]


class FaceInput(NamedTuple):
    """What a family reads of a face."""

    normed: bool  # the recognizer's embedding divided by its length, or as it is
    crop: Literal["aligned", "square"] = "aligned"  # what the CLIP encoder is shown of it


class Projection(nn.Module, ABC):
    """What every family says of itself."""

    name: ClassVar[str]
    feature: ClassVar[str | None]  # which CLIP output it reads, if any
    no_image: ClassVar[NoImage] = "zero features"
    face: ClassVar[FaceInput | None] = None  # None: it reads pictures, not faces
    versions: ClassVar[bool] = False  # FaceID Plus: V1 and V2 have the same tensors
    kolors: ClassVar[bool] = False  # made for Kolors, which has SDXL's layers
    width: int = 0  # of the CLIP feature
    channels: int  # of the image tokens it gives

    @classmethod
    @abstractmethod
    def matches(cls, tensors: Tensors, context: int) -> bool:
        """Whether these ``image_proj`` tensors are of this family; ``context`` is the width that
        the file's layers read."""

    @classmethod
    @abstractmethod
    def from_tensors(cls, tensors: Tensors, operations: Any) -> Projection:
        """A projection of the sizes that the tensors have; its weights come later."""

    @abstractmethod
    def forward(self, features: Features) -> Tensor:
        """What encoders saw, a row per picture -> image tokens [images, tokens, channels]"""

    def digest(self) -> str:
        """A digest of the names, shapes and contents of the projection's tensors."""
        digest = hashlib.blake2b(digest_size=16)
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(
                memoryview(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
            )
        return digest.hexdigest()


class ImageProjection(Projection):
    """Base, light and VIT-G: one linear layer on the picture's embedding."""

    name = "IP-Adapter"
    feature = "image_embeds"

    def __init__(self, width: int, tokens: int, channels: int, operations: Any):
        super().__init__()
        self.width, self.tokens, self.channels = width, tokens, channels
        self.proj = operations.Linear(width, tokens * channels)
        self.norm = operations.LayerNorm(channels)

    @classmethod
    def matches(cls, tensors: Tensors, context: int) -> bool:
        return {"proj.weight", "norm.weight"} <= tensors.keys()

    @classmethod
    def from_tensors(cls, tensors: Tensors, operations: Any) -> ImageProjection:
        rows, width = tensors["proj.weight"].shape
        (channels,) = tensors["norm.weight"].shape
        return cls(width, whole(rows, channels), channels, operations)

    def forward(self, features: Features) -> Tensor:
        """clip [images, width] -> [images, tokens, channels]"""
        return self.norm(self.proj(features.clip).unflatten(-1, (self.tokens, -1)))


class FullProjection(Projection):
    """Full Face: every CLIP token becomes an image token."""

    name = "Full Face"
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
    def matches(cls, tensors: Tensors, context: int) -> bool:
        return "proj.3.weight" in tensors

    @classmethod
    def from_tensors(cls, tensors: Tensors, operations: Any) -> FullProjection:
        hidden, width = tensors["proj.0.weight"].shape
        return cls(width, hidden, tensors["proj.2.weight"].shape[0], operations)

    def forward(self, features: Features) -> Tensor:
        """clip [images, clip tokens, width] -> [images, clip tokens, channels]"""
        return self.proj(features.clip)


class Resampler(Perceiver, Projection):
    """Plus, Plus Face and composition: learned queries read the CLIP tokens."""

    name = "IP-Adapter Plus"
    feature = "penultimate_hidden_states"
    no_image = "zero pixels"

    def __init__(self, tensors: Tensors, operations: Any):
        super().__init__(tensors, operations)
        _, self.tokens, _ = tensors["latents"].shape
        latents = torch.empty(1, self.tokens, self.proj_in.out_features)
        self.latents = nn.Parameter(latents, requires_grad=False)

    @classmethod
    def matches(cls, tensors: Tensors, context: int) -> bool:
        return {"latents", "proj_in.weight", "layers.0.0.to_q.weight"} <= tensors.keys()

    @classmethod
    def from_tensors(cls, tensors: Tensors, operations: Any) -> Resampler:
        return cls(tensors, operations)

    def forward(self, features: Features) -> Tensor:
        """clip [images, clip tokens, width] -> [images, tokens, channels]"""
        return self.resample(features.clip)

    def resample(self, features: Tensor | None) -> Tensor:
        """[images, clip tokens, width] -> [images, tokens, channels]"""
        assert features is not None
        return self.read(features, self.latents.to(features).expand(len(features), -1, -1))


class KolorsResampler(Resampler):
    """Plus for Kolors: the same with ViT-L's tokens, 2048 wide throughout."""

    name = "Kolors IP-Adapter Plus"
    kolors = True

    @classmethod
    def matches(cls, tensors: Tensors, context: int) -> bool:
        to_out = tensors.get("layers.0.0.to_out.weight")
        return super().matches(tensors, context) and to_out is not None and to_out.shape[0] == 2048


# From specific to broad.
CLIP_FAMILIES: list[type[Projection]] = [
    FullProjection,
    KolorsResampler,
    Resampler,
    ImageProjection,
]
