"""From pictures to image tokens, with ComfyUI's CLIP vision models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import comfy.model_management
import torch
from einops import rearrange
from torch import Tensor

from ...ipadapter.encoders import Encoder, encoder_that_gives
from ...ipadapter.enhance import pooled, split
from ...ipadapter.errors import IPAdapterError
from ...ipadapter.noise import distorted
from ...ipadapter.preprocess import fit_to_encoder, rgb
from ...ipadapter.projections import Projection
from ...ipadapter.reference import EncodedReference, Features, PromptPair
from ..loading.adapter import LoadedAdapter
from ..shared.notices import warn
from ..shared.progress import one_by_one


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
    refuse_faces(loaded)
    positive = picture_features(loaded, clip_vision, image)
    if image_negative is None and noise > 0:
        image_negative = distorted(image, noise)
    negative = negative_features(loaded, clip_vision, image_negative, positive)
    return project(loaded, PromptPair(Features(positive), Features(negative)))


def refuse_faces(loaded: LoadedAdapter) -> None:
    projection = loaded.projection
    if projection.face is not None:
        raise IPAdapterError(
            f"{loaded.file} is a {projection.name} adapter, which reads faces: use the FaceID nodes "
            "(Apply IPAdapter FaceID, Encode FaceID) instead"
        )


def project(loaded: LoadedAdapter, seen: PromptPair[Features]) -> EncodedReference:
    """A reference of what encoders saw: projected in float32, kept on the CPU."""
    projection = loaded.load().projection
    device = comfy.model_management.get_torch_device()

    def tokens(features: Features) -> Tensor:
        clip, face = (x if x is None else x.to(device) for x in (features.clip, features.face))
        return projection(replace(features, clip=clip, face=face)).cpu()

    return EncodedReference(tokens(seen.positive), tokens(seen.negative), seen)


# (pictures [images, H, W, channels], size) -> what the encoder is given, [images, H, W, 3]
Prepare = Callable[[Tensor, int], Tensor]


def unprepared(image: Tensor, size: int) -> Tensor:
    """Pictures [images, H, W, channels] as they are: the encoder's own node fits them, as it does for
    all other uses."""
    return rearrange(rgb(image), "images c h w -> images h w c")


def picture_features(
    loaded: LoadedAdapter, clip_vision: Any, image: Tensor, prepare: Prepare = fit_to_encoder
) -> Tensor:
    """The feature that the projection reads, [images, ...]. Pictures are encoded one by one, so
    that a picture's features do not depend on its company."""
    check_encoder(clip_vision)

    def encode(picture: Tensor) -> Tensor:
        pixels = prepare(picture[None], image_size(clip_vision))
        return encode_picture(clip_vision, pixels, loaded.projection.feature, loaded.file)

    pictures = one_by_one(image)
    features = torch.cat(
        [
            loaded.feature_cache.picture(clip_vision, picture, encode, prepare)
            for picture in pictures
        ]
    )
    check_width(loaded.projection, features)
    return features


def check_encoder(clip_vision: Any) -> None:
    if clip_vision is None:
        raise IPAdapterError("clip_vision is not connected: add a Load CLIP Vision node")
    if not hasattr(clip_vision, "encode_image"):
        raise IPAdapterError(NO_ENCODER.format(type(clip_vision).__name__))


def encode_picture(clip_vision: Any, pixels: Tensor, feature: str | None, reader: str) -> Tensor:
    """[1, H, W, 3] -> [1, ...]; ``reader`` is what messages say needs the feature."""
    seen = clip_vision.encode_image(pixels)[feature]
    if seen is None:
        raise IPAdapterError(
            f"clip_vision: the connected encoder gives no {feature}, which {reader} reads; "
            "load a CLIP encoder"
        )
    return seen.float().cpu()


class Tiling(NamedTuple):
    """How a picture is seen in tiles."""

    cut: Callable[[Tensor, int], list[Tensor]]  # a picture [H, W, channels], tiles along a side
    pool: Callable[[Tensor, int], Tensor]  # features [tiles * tiles, ...] -> [1, ...]


SQUARE_TILES = Tiling(split, pooled)


def tile_features(
    loaded: LoadedAdapter,
    clip_vision: Any,
    image: Tensor,
    tiles: int,
    tiling: Tiling = SQUARE_TILES,
    prepare: Prepare = fit_to_encoder,
) -> Tensor:
    """As ``picture_features``, of what the encoder sees in ``tiles`` x ``tiles`` parts of each picture
    [H, W, channels]."""
    size, feature = image_size(clip_vision), loaded.projection.feature

    def encode(picture: Tensor) -> Tensor:
        parts = [prepare(part[None], size) for part in tiling.cut(picture, tiles)]
        seen = [encode_picture(clip_vision, p, feature, loaded.file) for p in one_by_one(parts)]
        return tiling.pool(torch.cat(seen), tiles)

    how = (*tiling, prepare, tiles)
    return torch.cat(
        [loaded.feature_cache.picture(clip_vision, picture, encode, *how) for picture in image]
    )


def negative_features(
    loaded: LoadedAdapter, clip_vision: Any, image_negative: Tensor | None, positive: Tensor
) -> Tensor:
    """Features [images, ...] of the pictures to steer away from, one for each row of ``positive``; else
    of "no picture"."""
    if image_negative is None:
        return unconditional_features(loaded, clip_vision, positive)
    return one_each(picture_features(loaded, clip_vision, image_negative), len(positive))


def unconditional_features(loaded: LoadedAdapter, clip_vision: Any, like: Tensor) -> Tensor:
    """What the family was trained with as "no picture", [images, ...] like ``like``."""
    if loaded.projection.no_image == "zero features":
        return torch.zeros_like(like)

    nothing = loaded.feature_cache.unconditional(
        clip_vision, lambda: encode_unconditional(clip_vision)
    )
    return nothing.expand(len(like), *nothing.shape[1:])


def encode_unconditional(clip_vision: Any) -> Tensor:
    """The tokens of pixels that are zero once normalized, [1, tokens, width]."""
    size = image_size(clip_vision)
    return encode_pixels(clip_vision, torch.zeros(1, 3, size, size), "penultimate_hidden_states")


OUTPUTS = {"penultimate_hidden_states": 1, "image_embeds": 2}


def encode_pixels(clip_vision: Any, pixels: Tensor, feature: str) -> Tensor:
    """Normalized pixels [1, 3, size, size] -> [1, ...]: encode_image takes pictures, and to be
    nothing is to be zero once normalized."""
    if not hasattr(clip_vision, "model") or not hasattr(clip_vision, "patcher"):
        raise IPAdapterError(NO_ENCODER.format(type(clip_vision).__name__))
    comfy.model_management.load_model_gpu(clip_vision.patcher)
    pixels = pixels.to(clip_vision.patcher.load_device)
    seen = clip_vision.model(pixel_values=pixels, intermediate_output=-2)
    return seen[OUTPUTS[feature]].float().cpu()


NO_ENCODER = "clip_vision: {} is no CLIP vision model; connect Load CLIP Vision"


def image_size(clip_vision: Any) -> int:
    return getattr(clip_vision, "image_size", 224)


def one_each(negative: Tensor, images: int) -> Tensor:
    """One negative per picture, [images, ...]: a short list repeats its last, a long one is cut."""
    if len(negative) > images:
        warn(f"image_negative: {len(negative)} pictures for {images}; the last are not used")
    return negative[[min(i, len(negative) - 1) for i in range(images)]]


def check_width(projection: Projection, features: Tensor) -> None:
    """IPAdapterError where features [..., width] are not as wide as the projection reads."""
    needed, given = projection.width, features.shape[-1]
    if needed != given:
        wanted, other = (encoder_that_gives(projection.feature, width) for width in (needed, given))
        raise IPAdapterError(
            f"clip_vision: this adapter needs {needed}-wide features{in_brackets(wanted)}; "
            f"the connected encoder gives {given}{in_brackets(other)}: load the other encoder"
        )


def in_brackets(encoder: Encoder | None) -> str:
    return f" ({encoder.name})" if encoder else ""
