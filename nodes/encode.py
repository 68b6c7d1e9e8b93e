"""From pictures to image tokens, with ComfyUI's CLIP vision models."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ..ipadapter.adapter import IPAdapter
from ..ipadapter.errors import IPAdapterError
from ..ipadapter.preprocess import distorted, fit_to_encoder
from ..ipadapter.projections import Projection
from ..ipadapter.reference import EncodedReference
from .load import LoadedAdapter
from .memo import FeatureMemo
from .notices import say


def encode_reference(
    loaded: LoadedAdapter,
    clip_vision: Any,
    image: Tensor,
    image_negative: Tensor | None = None,
    noise: float = 0.0,
) -> EncodedReference:
    """Encode pictures [images, H, W, 3+] with an adapter and the encoder that it was trained with.

    The negative is ``image_negative``; else, with ``noise`` over 0, the distorted pictures; else
    what the family was trained with as "no picture".
    """
    projection = loaded.adapter.projection
    positive = picture_features(loaded.memo, projection, clip_vision, image)
    if image_negative is None and noise > 0:
        image_negative = distorted(image, noise)
    if image_negative is not None:
        negative = picture_features(loaded.memo, projection, clip_vision, image_negative)
        negative = one_each(negative, len(image))
    else:
        negative = no_picture_features(loaded.memo, projection, clip_vision, positive)
    adapter = loaded.load()
    return EncodedReference(project(adapter, positive), project(adapter, negative))


def project(adapter: IPAdapter, features: Tensor) -> Tensor:
    """CLIP features -> float32 image tokens [images, tokens, channels], on the CPU."""
    device = comfy.model_management.get_torch_device()
    return adapter.projection(features.to(device, torch.float32)).cpu()


def picture_features(
    memo: FeatureMemo, projection: Projection, clip_vision: Any, image: Tensor
) -> Tensor:
    """The feature that the projection reads, [images, ...]. Pictures are encoded one by one, so
    that a picture's features do not depend on its company."""

    if not hasattr(clip_vision, "encode_image"):
        raise IPAdapterError(NO_ENCODER.format(type(clip_vision).__name__))

    def encode(picture: Tensor) -> Tensor:
        pixels = fit_to_encoder(picture[None], image_size(clip_vision))
        return clip_vision.encode_image(pixels)[projection.feature].cpu()

    features = torch.cat([memo.picture(clip_vision, picture, encode) for picture in image])
    check_width(projection, features)
    return features


def no_picture_features(
    memo: FeatureMemo, projection: Projection, clip_vision: Any, like: Tensor
) -> Tensor:
    if projection.no_image == "zero features":
        return torch.zeros_like(like)

    def encode() -> Tensor:
        # encode_image takes pictures, and no picture is zero once normalised.
        if not hasattr(clip_vision, "model") or not hasattr(clip_vision, "patcher"):
            raise IPAdapterError(NO_ENCODER.format(type(clip_vision).__name__))
        comfy.model_management.load_model_gpu(clip_vision.patcher)
        size = image_size(clip_vision)
        pixels = torch.zeros(1, 3, size, size, device=clip_vision.patcher.load_device)
        return clip_vision.model(pixel_values=pixels, intermediate_output=-2)[1].cpu()

    return memo.no_picture(clip_vision, encode).expand_as(like)


NO_ENCODER = "clip_vision: {} is no CLIP vision model; connect Load CLIP Vision"


def image_size(clip_vision: Any) -> int:
    return getattr(clip_vision, "image_size", 224)


def one_each(negative: Tensor, images: int) -> Tensor:
    """One negative per picture: a short list repeats its last, a long one is cut."""
    if len(negative) > images:
        say(f"image_negative: {len(negative)} pictures for {images}; the last are not used")
    return negative[[min(i, len(negative) - 1) for i in range(images)]]


ENCODERS = {
    ("image_embeds", 768): "CLIP ViT-L",
    ("image_embeds", 1024): "CLIP ViT-H",
    ("image_embeds", 1280): "CLIP ViT-bigG",
    ("penultimate_hidden_states", 1024): "CLIP ViT-L",
    ("penultimate_hidden_states", 1152): "SigLIP",
    ("penultimate_hidden_states", 1280): "CLIP ViT-H",
    ("penultimate_hidden_states", 1664): "CLIP ViT-bigG",
}


def check_width(projection: Projection, features: Tensor) -> None:
    needed, given = projection.width, features.shape[-1]
    if needed != given:
        names = {w: f" ({name})" for (f, w), name in ENCODERS.items() if f == projection.feature}
        raise IPAdapterError(
            f"clip_vision: this adapter needs {needed}-wide features{names.get(needed, '')}; "
            f"the connected encoder gives {given}{names.get(given, '')}: load the other encoder"
        )
