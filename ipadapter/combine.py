"""Several references made one, by calculating with what the encoders saw before it is projected."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import IPAdapterError, pick
from .options import Option
from .reference import EncodedReference, Features, PromptPair


def average(rows: Tensor) -> Tensor:
    """The mean of rows [pictures, ..., width] -> [..., width]."""
    return rows.mean(0)


def norm_average(rows: Tensor) -> Tensor:
    """The mean of rows [pictures, ..., width], every feature divided by its length over the pictures, so
    that a picture with large values does not drown the others. One picture stays as it is.

    As cubiq/ComfyUI_IPAdapter_plus at 9d076a3 has it: the mean's scale is not that of the pictures.
    """
    return F.normalize(rows, dim=0).mean(0) if len(rows) > 1 else rows[0]


def add(rows: Tensor) -> Tensor:
    """The sum of rows [pictures, ..., width] -> [..., width]."""
    return rows.sum(0)


def subtract(rows: Tensor) -> Tensor:
    """The first of rows [pictures, ..., width] without the mean of the others."""
    return rows[0] - rows[1:].mean(0) if len(rows) > 1 else rows[0]


def largest(rows: Tensor) -> Tensor:
    """The larger value of each feature, [pictures, ..., width] -> [..., width]."""
    return rows.amax(0)


def smallest(rows: Tensor) -> Tensor:
    """The smaller value of each feature, [pictures, ..., width] -> [..., width]."""
    return rows.amin(0)


Calculate = Callable[[Tensor], Tensor]  # [pictures, ..., width] -> [..., width]
METHODS: dict[str, Option[Calculate]] = {
    "average": Option(average, "one picture between them, as a mixture of subjects or styles"),
    "norm average": Option(
        norm_average,
        "the mean after each feature is divided by its length over the pictures, so that features "
        "of very different size count alike",
    ),
    "add": Option(add, "their sum, in which what two or three pictures share gets stronger"),
    "subtract": Option(
        subtract,
        "the first without the mean of the others, to remove a background or a style that they show",
    ),
    "max": Option(largest, "the larger value of each feature: what shows clearly in any of them"),
    "min": Option(smallest, "the smaller value of each feature: only what shows in all of them"),
}

# What a user chooses from: to keep the pictures as they are is no calculation.
CONCAT = "concat"
COMBINATIONS: dict[str, Option[Calculate | None]] = {
    CONCAT: Option(
        None, "all pictures act side by side, as views of one subject; the first choice"
    ),
    **METHODS,
}


def combined(features: Features, method: str, normed: bool) -> Features:
    """Features as of one picture, from those of several.

    ``normed``: the family reads identities of length 1.
    """
    calculate = pick(METHODS, method, "method", CONCAT).value
    clip, face = features.clip, features.face
    if clip is not None:
        clip = calculate(clip)[None]
    if face is not None:
        face = calculate(face)[None]
        face = F.normalize(face, dim=-1) if normed else face
    return Features(clip, face, features.shortcut_scale)


def joined(features: list[Features]) -> Features:
    """The pictures of all, in their order."""
    clip = [f.clip for f in features if f.clip is not None]
    face = [f.face for f in features if f.face is not None]
    return Features(
        torch.cat(clip) if clip else None,
        torch.cat(face) if face else None,
        features[0].shortcut_scale,
    )


def first_picture(features: Features) -> Features:
    clip, face = (x if x is None else x[:1] for x in (features.clip, features.face))
    return Features(clip, face, features.shortcut_scale)


def alike(references: Mapping[str, EncodedReference]) -> list[PromptPair[Features]]:
    """The positive and negative features of each; ``references`` by the names of their inputs.

    IPAdapterError unless one can calculate with all of them together.
    """
    pairs: list[PromptPair[Features]] = []
    kinds: dict[str, str] = {}  # -> the input that brought it
    for name, reference in references.items():
        if reference.features is None:
            raise IPAdapterError(
                f"{name} has lost its encoder's features, so it cannot be combined: encode its "
                "pictures again"
            )
        pairs.append(reference.features)
        kinds.setdefault(_in_words(reference.features.positive), name)
    if len(kinds) > 1:
        (kind, name), (other_kind, other) = list(kinds.items())[:2]
        raise IPAdapterError(
            f"{name} and {other} do not go together: {name} has {kind}, {other} has {other_kind}; "
            "encode both with the same encoder and the same settings"
        )
    return pairs


def _in_words(features: Features) -> str:
    """What must be equal in all."""
    clip, face = (
        "no" if rows is None else " x ".join(map(str, rows.shape[1:]))
        for rows in (features.clip, features.face)
    )
    version = (
        "" if features.shortcut_scale is None else f" and weight_v2 {features.shortcut_scale:g}"
    )
    return f"{clip} CLIP features, {face} face features{version}"
