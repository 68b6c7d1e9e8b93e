"""Version 2's nodes that also look at a picture in parts, for more detail."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ...ipadapter.reference import Features
from ..loading.adapter import check_model
from ..references.encode import picture_features, refuse_faces, tile_features
from ..shared.checks import check_images
from .apply import IPAdapterAdvanced
from .compat import Compat, ways
from .encode import Encoders, Seen, negative_of, reference_of
from .formulas.enhance import even_parts, pooled_as_grids
from .place import Settings, encoders_of, place
from .sockets import model_output, old_node, sockets

MOST_TILES = 16
DESCRIPTION = "Lets a picture act as a prompt, seen as a whole and in tiles, for more detail."
SUCCESSOR = "Encode Reference with enhance_tiles"


class IPAdapterClipVisionEnhancer(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return old_node(
            "IPAdapterClipVisionEnhancer",
            "IPAdapter ClipVision Enhancer",
            DESCRIPTION,
            sockets(
                "model ipadapter image:enhanced weight:5 weight_type combine_embeds start_at end_at "
                "embeds_scaling enhance_tiles enhance_ratio:1 "
                "| image_negative attn_mask clip_vision compat"
            ),
            [model_output()],
            SUCCESSOR,
        )

    @classmethod
    def execute(
        cls, enhance_tiles: int = 2, enhance_ratio: float = 1.0, **settings: Any
    ) -> io.NodeOutput:
        tiles = min(enhance_tiles, MOST_TILES)
        if tiles <= 1:
            return IPAdapterAdvanced.execute(**settings)
        return io.NodeOutput(apply_enhanced(tiles=tiles, ratio=enhance_ratio, **settings))


class IPAdapterClipVisionEnhancerBatch(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return old_node(
            "IPAdapterClipVisionEnhancerBatch",
            "IPAdapter ClipVision Enhancer Batch",
            f"{DESCRIPTION} Picture 1 goes to latent 1, picture 2 to latent 2, and so on.",
            sockets(
                "model ipadapter image:enhanced weight:5 weight_type start_at end_at embeds_scaling "
                "enhance_tiles enhance_ratio:half encode_batch_size "
                "| image_negative attn_mask clip_vision compat"
            ),
            [model_output()],
            f"{SUCCESSOR}, and unfold_batch of Apply IPAdapter",
        )

    @classmethod
    def execute(cls, enhance_ratio: float = 0.5, **settings: Any) -> io.NodeOutput:
        return IPAdapterClipVisionEnhancer.execute(
            enhance_ratio=enhance_ratio, unfold_batch=True, **settings
        )


def apply_enhanced(
    model: Any,
    ipadapter: Any,
    image: Tensor,
    tiles: int,
    ratio: float,
    image_negative: Tensor | None = None,
    clip_vision: Any = None,
    compat: str | None = None,
    encode_batch_size: int = 0,
    **settings: Any,
) -> Any:
    encoders = encoders_of(ipadapter, clip_vision)
    refuse_faces(encoders.loaded)
    check_model(model, encoders.loaded)
    how = Settings(ways(compat), **settings)
    if not how.acts:
        return model
    seen = see_enhanced(encoders, image, image_negative, tiles, ratio, how.compat)
    return place(model, encoders, reference_of(encoders.loaded, seen, how.combined), how)


def see_enhanced(
    encoders: Encoders,
    image: Tensor,
    image_negative: Tensor | None,
    tiles: int,
    ratio: float,
    compat: Compat,
) -> Seen:
    """What is seen in pictures [images, H, W, channels] and in their tiles, mixed; one picture and
    its tiles are two."""
    check_images(image=image, image_negative=image_negative)
    whole = picture_features(*encoders[:2], image, compat.prepare) * ratio
    how = (even_parts, pooled_as_grids, compat.prepare)
    parts = tile_features(*encoders[:2], image, tiles, *how)
    mixed = torch.cat([whole, parts]) if len(image) == 1 else whole + parts * (1 - ratio)
    negative = negative_of(encoders, image_negative, mixed, compat)
    return Seen(Features(mixed), Features(negative))


NODES = [IPAdapterClipVisionEnhancer, IPAdapterClipVisionEnhancerBatch]
