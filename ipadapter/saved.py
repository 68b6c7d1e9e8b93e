"""A reference as it lies in a file: named tensors, and notes that say what they belong to."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from .errors import IPAdapterError
from .face_projections import EMBEDDING
from .families import FAMILIES
from .projections import Projection
from .reference import AdapterId, EncodedReference, Features, PromptPair

FORMAT = "ipadapter reference"
VERSION = "1"
SIDES = ("positive", "negative")
KINDS = ("clip", "face")


def pack(reference: EncodedReference) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and notes of a reference, for a .safetensors file."""
    if reference.adapter is None or reference.features is None:
        raise IPAdapterError(
            "reference: it does not say which adapter it was made with; encode its pictures again"
        )
    tensors = {"positive": reference.positive, "negative": reference.negative}
    for side, features in zip(SIDES, reference.features, strict=True):
        for kind, rows in zip(KINDS, (features.clip, features.face), strict=True):
            if rows is not None:
                tensors[f"{side}.{kind}"] = rows
    seen = reference.features.positive
    notes = {
        "format": FORMAT,
        "version": VERSION,
        **reference.adapter._asdict(),
        "encoder": _encoder(reference.adapter.family, seen.clip),
    }
    if seen.shortcut_scale is not None:
        notes["shortcut_scale"] = repr(seen.shortcut_scale)
    separate = torch.contiguous_format  # the format has no views and no shared memory
    return {name: t.clone(memory_format=separate) for name, t in tensors.items()}, notes


def _encoder(family: str, clip: Tensor | None) -> str:
    feature = next((f.feature for f in FAMILIES if f.name == family), None)
    return "none" if clip is None else f"{feature}, {clip.shape[-1]} wide"


def unpack(tensors: Mapping[str, Tensor], notes: Mapping[str, str], file: str) -> EncodedReference:
    """The reverse of ``pack``. IPAdapterError for a file that is no reference."""
    if notes.get("format") != FORMAT or not set(SIDES) <= tensors.keys():
        raise IPAdapterError(f"{file} is no saved reference; choose one that Save Reference made")
    if notes.get("version") != VERSION:
        raise IPAdapterError(
            f"{file} was saved by a newer version (format {notes.get('version')}, this one reads "
            f"{VERSION}): update IPAdapter Regions"
        )
    shortcut_scale = _shortcut_scale(notes.get("shortcut_scale"), file)
    positive, negative = (
        Features(tensors.get(f"{side}.clip"), tensors.get(f"{side}.face"), shortcut_scale)
        for side in SIDES
    )
    adapter = AdapterId(*(notes.get(field, "an unknown adapter") for field in AdapterId._fields))
    features = PromptPair(positive, negative)
    return EncodedReference(tensors["positive"], tensors["negative"], features, adapter)


def _shortcut_scale(text: str | None, file: str) -> float | None:
    if text is None:
        return None
    try:
        shortcut_scale = float(text)
    except ValueError:
        shortcut_scale = math.nan
    if not math.isfinite(shortcut_scale):
        raise damaged(file, "its weight_v2 is no number")
    return shortcut_scale


def check_tensors(tensors: Mapping[str, Tensor], projection: Projection, file: str) -> None:
    """Refuse tensors, on the meta device too, that this projection cannot have to do with."""
    shapes = _expected(projection)
    wrong = sorted(shapes.keys() ^ tensors.keys())
    if wrong:
        what = "is missing" if wrong[0] in shapes else "belongs to no reference of this adapter"
        raise damaged(file, f"{wrong[0][:80]} {what}")
    for name, tensor in tensors.items():
        shape = shapes[name]
        sizes = zip(shape, tensor.shape, strict=False)
        fits = all(have > 0 and want in (None, have) for want, have in sizes)
        if tensor.ndim != len(shape) or not fits or tensor.dtype != torch.float32:
            found = f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
            wanted = str([n or "any" for n in shape]).replace("'", "")
            raise damaged(file, f"{name} is {found}, not float32 {wanted}")
    for name, tensor in tensors.items():
        first = tensors[name.replace("negative", "positive")]
        if tensor.shape != first.shape or len(tensor) != len(tensors["positive"]):
            raise damaged(file, f"{name} does not go with its other tensors")


def check_finite(tensors: Mapping[str, Tensor], file: str) -> None:
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise damaged(file, f"{name} contains infinity or NaN (not a number)")


def _expected(projection: Projection) -> dict[str, tuple[int | None, ...]]:
    """Name -> shape of each tensor; None is any number."""
    shapes: dict[str, tuple[int | None, ...]] = {"": (None, None, projection.channels)}
    if projection.feature == "image_embeds":
        shapes[".clip"] = (None, projection.width)
    elif projection.feature is not None:
        shapes[".clip"] = (None, None, projection.width)
    if projection.face is not None:
        shapes[".face"] = (None, EMBEDDING)
    return {side + kind: shape for side in SIDES for kind, shape in shapes.items()}


def damaged(file: str, why: str) -> IPAdapterError:
    return IPAdapterError(f"{file} is damaged: {why}; save the reference again")
