"""The families that read faces: what a face recognizer says of one, with or without CLIP's view.

Mathematics: tencent-ailab/IP-Adapter at 62e4af9, ip_adapter/ip_adapter_faceid.py and
ip_adapter/ip_adapter_faceid_separate.py; Kolors: Kwai-Kolors/Kolors at 0fafa56, ipadapter_FaceID.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .perceiver import Perceiver, Tensors, whole
from .projections import FaceInput, Projection, Resampler
from .reference import Features

EMBEDDING = 512  # width of what the recognizers give; no CLIP feature is so narrow
PERCEIVER = "perceiver_resampler."


class FaceID(Projection):
    """FaceID: a small network on the identity alone."""

    name = "FaceID"
    feature = None
    face = FaceInput(normed=True)

    def __init__(self, tensors: Tensors, operations: Any):
        super().__init__()
        hidden, embedding = tensors["proj.0.weight"].shape
        rows = tensors["proj.2.weight"].shape[0]
        (self.channels,) = tensors["norm.weight"].shape
        self.tokens = whole(rows, self.channels)
        self.proj = nn.Sequential(
            operations.Linear(embedding, hidden), nn.GELU(), operations.Linear(hidden, rows)
        )
        self.norm = operations.LayerNorm(self.channels)

    @classmethod
    def matches(cls, tensors: Tensors, context: int) -> bool:
        first = tensors.get("proj.0.weight")
        return "norm.weight" in tensors and first is not None and first.shape[-1] == EMBEDDING

    @classmethod
    def from_tensors(cls, tensors: Tensors, operations: Any) -> FaceID:
        return cls(tensors, operations)

    def forward(self, features: Features) -> Tensor:
        """face [faces, 512] -> [faces, tokens, channels]"""
        return self.norm(self.proj(features.face).unflatten(-1, (self.tokens, -1)))


class Portrait(FaceID):
    """FaceID Portrait: 16 tokens a photo, made for several photos of one person, without a LoRA."""

    name = "FaceID Portrait"

    @classmethod
    def matches(cls, tensors: Tensors, context: int) -> bool:
        if not super().matches(tensors, context):
            return False
        rows, channels = tensors["proj.2.weight"].shape[0], tensors["norm.weight"].shape[0]
        return channels > 0 and rows // channels >= 16


class FaceIDPlus(FaceID):
    """FaceID Plus: the identity's tokens read CLIP's view of the face. V2 adds what they read onto
    them, times ``shortcut_scale``; V1 (shortcut_scale None) keeps only what they read."""

    name = "FaceID Plus"
    feature = "penultimate_hidden_states"
    no_image = "zero pixels"
    versions = True

    def __init__(self, tensors: Tensors, operations: Any):
        super().__init__(tensors, operations)
        inner = {
            key.removeprefix(PERCEIVER): tensor
            for key, tensor in tensors.items()
            if key.startswith(PERCEIVER)
        }
        self.perceiver_resampler = Perceiver(inner, operations)
        self.width = self.perceiver_resampler.width

    @classmethod
    def matches(cls, tensors: Tensors, context: int) -> bool:
        return PERCEIVER + "proj_in.weight" in tensors and super().matches(tensors, context)

    def forward(self, features: Features) -> Tensor:
        """face [faces, 512], clip [faces, clip tokens, width] -> [faces, tokens, channels]"""
        assert features.clip is not None
        identity = super().forward(features)
        seen = self.perceiver_resampler.read(features.clip, identity)
        return (
            seen if features.shortcut_scale is None else identity + features.shortcut_scale * seen
        )


class KolorsFaceIDPlus(FaceIDPlus):
    """FaceID Plus for Kolors, always with what V2 adds. Its tokens are as wide as Kolors' text
    (4096), and go through the UNet's own projection like it, to what the layers read (2048)."""

    name = "Kolors FaceID Plus"
    no_image = "zero features"
    face = FaceInput(normed=False, crop="square")
    versions = False
    kolors = True

    @classmethod
    def matches(cls, tensors: Tensors, context: int) -> bool:
        return super().matches(tensors, context) and tensors["norm.weight"].shape[0] > context


class UnnormPortrait(Resampler):
    """FaceID Portrait unnorm: learned queries read the identity as the recognizer gives it."""

    name = "FaceID Portrait unnorm"
    feature = None
    no_image = "zero features"
    face = FaceInput(normed=False)

    @classmethod
    def matches(cls, tensors: Tensors, context: int) -> bool:
        return (
            super().matches(tensors, context) and tensors["proj_in.weight"].shape[-1] == EMBEDDING
        )

    def __init__(self, tensors: Tensors, operations: Any):
        super().__init__(tensors, operations)
        self.width = 0  # of a CLIP feature: it reads none

    def forward(self, features: Features) -> Tensor:
        """face [faces, 512] -> [faces, tokens, channels]"""
        assert features.face is not None
        return self.resample(features.face[:, None])


# From specific to broad.
FACE_FAMILIES: list[type[Projection]] = [
    KolorsFaceIDPlus,
    FaceIDPlus,
    Portrait,
    FaceID,
    UnnormPortrait,
]
