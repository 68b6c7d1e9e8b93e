"""From version 2's pictures to a reference: what the encoders see, combined, projected."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...ipadapter.combine import combined, first_picture
from ...ipadapter.errors import IPAdapterError
from ...ipadapter.faces import FaceChoice
from ...ipadapter.preprocess import without_alpha
from ...ipadapter.projections import FaceInput
from ...ipadapter.reference import EncodedReference, Features, PromptPair
from ..loading.adapter import LoadedAdapter
from ..references.encode import (
    image_size,
    one_each,
    picture_features,
    project,
    unconditional_features,
)
from ..references.encode_faces import FacePhotos, look_at_faces
from ..shared.checks import check_images
from .compat import Compat

CONCAT = "concat"


class Encoders(NamedTuple):
    """An adapter, and what looks at pictures for it."""

    loaded: LoadedAdapter
    clip_vision: Any
    insightface: Any


class Seen(NamedTuple):
    features: PromptPair[Features]
    faces: Tensor | None = None  # their crops, [faces, H, W, 3]


def reference_of(loaded: LoadedAdapter, seen: Seen, combine_embeds: str) -> EncodedReference:
    """As one picture's, unless ``combine_embeds`` is concat."""
    positive, negative = seen.features
    images = len(positive.face if positive.clip is None else positive.clip)  # pyright: ignore[reportArgumentType]
    if combine_embeds != CONCAT and images > 1:
        positive = combined(positive, combine_embeds, normed=False)
        negative = first_picture(negative)
    return project(loaded, PromptPair(positive, negative))


def see(
    encoders: Encoders,
    image: Tensor,
    image_negative: Tensor | None,
    shortcut_scale: float | None,
    compat: Compat,
) -> Seen:
    """What the encoders see in pictures [images, H, W, 3+], or in one face of each."""
    check_images(image=image, image_negative=image_negative)
    image = without_alpha(image)
    if encoders.loaded.projection.face is None:
        positive = picture_features(*encoders[:2], image, compat.prepare)
        negative = negative_of(encoders, image_negative, positive, compat)
        return Seen(PromptPair(Features(positive), Features(negative)))
    return see_faces(encoders, image, image_negative, shortcut_scale, compat)


def negative_of(
    encoders: Encoders, image_negative: Tensor | None, positive: Tensor, compat: Compat
) -> Tensor:
    """CLIP's features of what the negative prompt sees, [images, ...] like ``positive``."""
    loaded, clip_vision, _ = encoders
    if image_negative is None and compat.black and reads_tokens(loaded, compat):
        size = image_size(clip_vision)
        image_negative = torch.zeros(1, size, size, 3)
    if image_negative is None:
        return unconditional_features(loaded, clip_vision, positive)
    image_negative = without_alpha(image_negative)
    return one_each(
        picture_features(loaded, clip_vision, image_negative, compat.prepare), len(positive)
    )


def reads_tokens(loaded: LoadedAdapter, compat: Compat) -> bool:
    """Whether it has a picture for "no picture", and not just zeros."""
    projection = loaded.projection
    if projection.kolors and projection.face is not None:
        return compat.kolors_as_others
    return projection.no_image == "zero pixels"


def see_faces(
    encoders: Encoders,
    image: Tensor,
    image_negative: Tensor | None,
    shortcut_scale: float | None,
    compat: Compat,
) -> Seen:
    """Of each picture [images, H, W, 3+] the face that the detector is surest of; for Kolors, the
    largest."""
    loaded, clip_vision, insightface = encoders
    projection = loaded.projection
    if insightface is None:
        raise IPAdapterError(
            f"insightface: {loaded.file} reads faces, and its loader brings no face models; connect "
            "Load InsightFace (IPAdapter FaceID has an input for it), or load with IPAdapter Unified "
            "Loader FaceID or IPAdapter Auto Loader"
        )
    photos = FacePhotos(
        image,
        insightface,
        clip_vision,
        FaceChoice("index"),
        sizes=compat.face_sizes,
        prepare=compat.prepare,
    )
    if projection.kolors and compat.kolors_as_others:
        photos = replace(photos, reads=FaceInput(normed=True))
    elif projection.kolors:
        photos = replace(photos, choice=FaceChoice("largest"))
    else:
        photos = replace(photos, crop_size=compat.face_crop.get(loaded.adapter.base_model))
    found = look_at_faces(loaded, photos)
    negative = None
    if found.clip is not None:
        negative = negative_of(encoders, image_negative, found.clip, compat)
    features = PromptPair(
        Features(found.clip, found.identities, shortcut_scale),
        Features(negative, torch.zeros_like(found.identities), shortcut_scale),
    )
    return Seen(features, found.crops)
