"""Which family an adapter file is of, read from its tensors."""

from __future__ import annotations

from .errors import IPAdapterError
from .face_projections import FACE_FAMILIES
from .perceiver import Tensors
from .projections import CLIP_FAMILIES, Projection

FAMILIES: list[type[Projection]] = [*FACE_FAMILIES, *CLIP_FAMILIES]
SIGLIP = 1152  # width of its embedding, which InstantX's adapter for Flux reads


def find_family(tensors: Tensors, context: int, file: str) -> type[Projection]:
    """The class for these ``image_proj`` tensors; IPAdapterError when there is none.

    ``context`` is the width that the file's layers read.
    """
    for family in FAMILIES:
        if family.matches(tensors, context):
            return family
    first = tensors.get("proj.0.weight")
    if first is not None and first.shape[-1] == SIGLIP:
        raise IPAdapterError(f"{file} is an adapter for Flux, which this version does not support")
    shown = ", ".join(list(tensors)[:3])
    raise IPAdapterError(f"{file} has an image projection of an unknown kind ({shown}, ...)")
