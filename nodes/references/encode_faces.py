"""From photos of people to image tokens: the FaceID families."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...ipadapter.base_models import has_plus_v1
from ...ipadapter.errors import IPAdapterError, pick
from ...ipadapter.faces import LARGEST, SIZES, FaceChoice, FaceRequest
from ...ipadapter.noise import distorted
from ...ipadapter.options import Option
from ...ipadapter.preprocess import fit_to_encoder
from ...ipadapter.projections import FaceInput
from ...ipadapter.published import named_v2
from ...ipadapter.reference import EncodedReference, Features, PromptPair
from ..loading.adapter import LoadedAdapter
from ..loading.insightface import FoundFace, read_faces
from ..shared.notices import warn
from ..shared.progress import one_by_one
from .encode import Prepare, image_size, picture_features, project, unconditional_features

CROP = 224  # pixels a side, where no CLIP encoder asks for another size


@dataclass(frozen=True, eq=False)
class FacePhotos:
    """Photos of people, what looks at them, and which of their faces are meant."""

    image: Tensor  # [images, H, W, 3+]
    insightface: Any
    clip_vision: Any = None
    choice: FaceChoice = LARGEST
    reads: FaceInput | None = None  # None: what the adapter's projection reads
    crop_size: int | None = None  # pixels a side; None: what CLIP reads
    sizes: Sequence[int] = SIZES  # of what the detector is shown
    prepare: Prepare = fit_to_encoder  # how CLIP is shown the crops


def encode_faces(
    loaded: LoadedAdapter,
    photos: FacePhotos,
    shortcut_scale: float | None = None,
    noise: float = 0.0,
) -> tuple[EncodedReference, Tensor]:
    """Encode the chosen faces, and their crops [faces, H, W, 3].

    ``shortcut_scale`` is the weight of CLIP's view in FaceID Plus V2, None in all other families.
    """
    found = look_at_faces(loaded, photos)
    clip_negative = None
    if found.clip is not None and noise > 0:
        clip_negative = picture_features(loaded, photos.clip_vision, distorted(found.crops, noise))
    elif found.clip is not None:
        clip_negative = unconditional_features(loaded, photos.clip_vision, found.clip)
    positive = Features(found.clip, found.identities, shortcut_scale)
    negative = Features(clip_negative, torch.zeros_like(found.identities), shortcut_scale)
    return project(loaded, PromptPair(positive, negative)), found.crops


class Faces(NamedTuple):
    """What is seen of faces, a row for each."""

    identities: Tensor  # [faces, 512]
    crops: Tensor  # [faces, H, W, 3]
    clip: Tensor | None  # CLIP's features of the crops, where the adapter reads them


def look_at_faces(loaded: LoadedAdapter, photos: FacePhotos) -> Faces:
    """The chosen faces, as the adapter reads them."""
    projection = loaded.projection
    reads = photos.reads or projection.face
    if reads is None:
        raise IPAdapterError(
            f"{loaded.file} ({projection.name}) reads whole pictures, no faces: use Apply IPAdapter "
            "or Encode Reference, or load a FaceID adapter (in IPAdapter Auto Loader: a preset with "
            "FACEID)"
        )
    reads_clip = projection.feature is not None
    if reads_clip and photos.clip_vision is None:
        raise IPAdapterError(
            f"clip_vision is not connected: {projection.name} also looks at the face through CLIP; "
            "add a Load CLIP Vision node"
        )
    size = photos.crop_size or (image_size(photos.clip_vision) if reads_clip else CROP)
    request = FaceRequest(photos.choice, reads.crop, size, photos.sizes)
    found = find_faces(loaded, photos.insightface, photos.image, request)
    identities = torch.stack([face.identity for face in found])
    if reads.normed:
        identities = F.normalize(identities, dim=-1)
    crops = torch.stack([face.crop for face in found])
    clip = None
    if reads_clip:
        clip = picture_features(loaded, photos.clip_vision, crops, photos.prepare)
    return Faces(identities, crops, clip)


def find_faces(
    loaded: LoadedAdapter, insightface: Any, image: Tensor, request: FaceRequest
) -> list[FoundFace]:
    """The chosen faces of pictures [images, H, W, 3+], picture by picture."""
    if insightface is None:
        raise IPAdapterError("insightface is not connected: add a Load InsightFace node")
    found: list[FoundFace] = []
    for number, picture in enumerate(one_by_one(image), 1):

        def read(picture: Tensor, number: int = number) -> list[FoundFace]:
            return read_faces(insightface, picture, number, request)

        found += loaded.feature_cache.picture(insightface, picture, read, request)
    return found


VERSIONS = {
    "by file name": Option("", "V2 where the name says so or the adapter is for SDXL, else V1"),
    "v1": Option("V1", "FaceID Plus"),
    "v2": Option("V2", "FaceID Plus V2, in which weight_v2 counts"),
}


def find_shortcut_scale(
    loaded: LoadedAdapter, plus_version: str, faceid_v2: bool, weight: float
) -> float | None:
    """The weight of CLIP's view that the adapter's projection is to use; None where it has none.

    FaceID Plus V1 and V2 have the same tensors, so that for them the user or the name decides.
    """
    projection = loaded.projection
    chosen = pick(VERSIONS, plus_version, "plus_version").value
    if not projection.versions:
        return weight if projection.kolors else None
    version, why = (chosen or "V2", "as chosen") if chosen or faceid_v2 else version_by_name(loaded)
    warn(f"{loaded.file} is taken as FaceID Plus {version} ({why})")
    return weight if version == "V2" else None


def version_by_name(loaded: LoadedAdapter) -> tuple[str, str]:
    """The version, and why."""
    by_name = "by its name" if loaded.name == loaded.file else "as its loader says"
    if named_v2(loaded.name):
        return "V2", by_name
    base = loaded.adapter.base_model
    if not has_plus_v1(base):
        return "V2", f"for {base} there is no other"
    named = "plus" in loaded.name.lower()
    return "V1", by_name if named else "its name does not say V2"
