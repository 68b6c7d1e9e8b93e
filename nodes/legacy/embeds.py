"""Version 2's EMBEDS: what CLIP sees in pictures, encoded once and combined."""

from __future__ import annotations

from functools import partial
from typing import Any

import comfy.clip_model
import torch
from comfy_api.latest import io
from torch import Tensor

from ...ipadapter.combine import METHODS
from ...ipadapter.errors import pick
from ...ipadapter.preprocess import CLIP_MEAN, resized, without_alpha
from ..loading.feature_cache import fingerprint
from ..references.encode import (
    check_encoder,
    check_width,
    encode_pixels,
    image_size,
    picture_features,
    refuse_faces,
)
from ..shared.checks import check_image, check_mask
from ..shared.inputs import choice_input
from ..shared.node import Node
from ..shared.progress import one_by_one
from . import embed_apply, embed_files
from .compat import Compat, ways
from .embed_values import check_embeds, check_together, embeds_input, embeds_output
from .encode import CONCAT, Encoders, negative_of
from .place import encoders_of
from .sockets import COMBINE_EMBEDS, number, old_node, sockets

ENCODE = "Encode Reference"
COMBINE = "Combine References"
MOST_EMBEDS = 5
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class IPAdapterEncoder(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        weight = number(
            "weight", 1.0, -1.0, 3.0, 0.01,
            "Multiplies what the encoder saw. 0.5 to 1.5 is sensible; 0 leaves nothing of the "
            "picture. Felt most when pictures are combined.",
        )  # fmt: skip
        mask = partial(
            io.Mask.Input,
            "mask",
            tooltip="Of the reference: where it is black, the encoder sees nothing. Its center "
            "square is used.",
        )
        return old_node(
            "IPAdapterEncoder",
            "IPAdapter Encoder",
            "What CLIP sees in pictures, for IPAdapter Embeds.",
            sockets(
                "ipadapter image weight | mask clip_vision compat", {"weight": weight, "mask": mask}
            ),
            [
                embeds_output("pos_embed", "What CLIP sees in the pictures."),
                embeds_output("neg_embed", 'What the negative prompt sees instead: "no picture".'),
            ],
            ENCODE,
        )

    @classmethod
    def execute(
        cls,
        ipadapter: Any,
        image: Tensor,
        weight: float = 1.0,
        mask: Tensor | None = None,
        clip_vision: Any = None,
        compat: str | None = None,
    ) -> io.NodeOutput:
        encoders, how = encoders_of(ipadapter, clip_vision), ways(compat)
        refuse_faces(encoders.loaded)
        check_image(image, "image")
        image = without_alpha(image)
        if mask is None:
            positive = picture_features(*encoders[:2], image, how.prepare)
        else:
            positive = masked_features(encoders, image, check_mask(mask, "mask"), how)
        # One is enough: it is the same for every picture.
        negative = negative_of(encoders, None, positive, how)[:1]
        return io.NodeOutput(positive * weight, negative)


def masked_features(encoders: Encoders, image: Tensor, mask: Tensor, compat: Compat) -> Tensor:
    """As ``picture_features``, of pictures that are nothing to CLIP where a mask [masks, H, W] is
    black. Mask 1 is for picture 1, and so on; the last is for all that follow."""
    loaded, clip_vision, _ = encoders
    check_encoder(clip_vision)
    size = image_size(clip_vision)
    mean = getattr(clip_vision, "image_mean", CLIP_MEAN)
    std = getattr(clip_vision, "image_std", CLIP_STD)
    masks = square(mask, size)

    def seen(picture: Tensor, number: int) -> Tensor:
        own = masks[min(number, len(masks) - 1)]

        def encode(picture: Tensor) -> Tensor:
            prepared = compat.prepare(picture[None], size)
            pixels = comfy.clip_model.clip_preprocess(prepared, size, mean, std)
            return encode_pixels(clip_vision, pixels * own, loaded.projection.feature or "")

        how = (compat.prepare, fingerprint(own))
        return loaded.feature_cache.picture(clip_vision, picture, encode, *how)

    pictures = enumerate(one_by_one(image))
    features = torch.cat([seen(picture, number) for number, picture in pictures])
    check_width(loaded.projection, features)
    return features


def square(mask: Tensor, size: int) -> Tensor:
    """The center square, [masks, H, W] -> [masks, size, size]"""
    side = min(mask.shape[1:])
    down, right = ((length - side) // 2 for length in mask.shape[1:])
    mask = mask[:, down : down + side, right : right + side]
    return resized(mask[:, None], size, size)[:, 0]


class IPAdapterCombineEmbeds(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        names = [f"embed{i}" for i in range(1, MOST_EMBEDS + 1)]
        tip = "From IPAdapter Encoder; all from the same encoder."
        method = partial(
            choice_input,
            "method",
            {**COMBINE_EMBEDS, "max": METHODS["max"], "min": METHODS["min"]},
            "How they are combined.",
        )
        return old_node(
            "IPAdapterCombineEmbeds",
            "IPAdapter Combine Embeds",
            "Combines what CLIP saw in several pictures.",
            sockets(
                f"embed1 method | {' '.join(names[1:])}",
                {"method": method, **{name: embeds_input(name, tip) for name in names}},
            ),
            [embeds_output("EMBEDS", "All combined, for IPAdapter Embeds.")],
            COMBINE,
        )

    @classmethod
    def execute(cls, embed1: Tensor, method: str = CONCAT, **more: Tensor | None) -> io.NodeOutput:
        given = {"embed1": embed1, **{n: e for n, e in sorted(more.items()) if e is not None}}
        embeds = {name: check_embeds(value, name) for name, value in given.items()}
        check_together(embeds, own=1)
        rows = torch.cat(list(embeds.values()))
        if method != CONCAT:
            rows = pick(METHODS, method, "method", CONCAT).value(rows)[None]
        return io.NodeOutput(rows)


NODES = [
    IPAdapterEncoder,
    IPAdapterCombineEmbeds,
    *embed_apply.NODES,
    *embed_files.NODES,
]
