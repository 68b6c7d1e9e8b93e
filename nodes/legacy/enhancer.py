"""Version 2's nodes that also look at a picture in parts, for more detail."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ...ipadapter.preprocess import without_alpha
from ...ipadapter.reference import Features, PromptPair
from ..loading.adapter import check_model
from ..references.encode import Tiling, picture_features, refuse_faces, tile_features
from ..shared.checks import check_images
from .apply import IPAdapterAdvanced
from .encode import Encoders, Seen, negative_of, reference_of
from .formulas.enhance import even_parts, pooled_as_grids
from .place import ApplyInputs, encoders_of, place
from .sockets import model_output, old_node, sockets
from .weight_types import WeightTypeNode

MOST_TILES = 16
DESCRIPTION = "Lets a picture act as a prompt, seen as a whole and in tiles, for more detail."
SUCCESSOR = "Encode Reference with enhance_tiles"


class IPAdapterClipVisionEnhancer(WeightTypeNode):
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
        cls, enhance_tiles: int = 2, enhance_ratio: float = 1.0, **inputs: Any
    ) -> io.NodeOutput:
        tiles = min(enhance_tiles, MOST_TILES)
        if tiles <= 1:
            return IPAdapterAdvanced.execute(**inputs)
        return io.NodeOutput(apply_enhanced(ApplyInputs(**inputs), tiles, enhance_ratio))


class IPAdapterClipVisionEnhancerBatch(WeightTypeNode):
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
    def execute(cls, enhance_ratio: float = 0.5, **inputs: Any) -> io.NodeOutput:
        return IPAdapterClipVisionEnhancer.execute(
            enhance_ratio=enhance_ratio, unfold_batch=True, **inputs
        )


def apply_enhanced(inputs: ApplyInputs, tiles: int, ratio: float) -> Any:
    encoders = encoders_of(inputs.ipadapter, inputs.clip_vision)
    refuse_faces(encoders.loaded)
    check_model(inputs.model, encoders.loaded)
    if not inputs.acts:
        return inputs.model
    reference = reference_of(
        encoders.loaded, see_enhanced(encoders, inputs, tiles, ratio), inputs.combined
    )
    return place(inputs.model, encoders, reference, inputs)


TILING = Tiling(even_parts, pooled_as_grids)


def see_enhanced(encoders: Encoders, inputs: ApplyInputs, tiles: int, ratio: float) -> Seen:
    """What is seen in pictures [images, H, W, channels] and in their tiles, mixed; one picture and
    its tiles are two."""
    check_images(image=inputs.image, image_negative=inputs.image_negative)
    image, prepare = without_alpha(inputs.image), inputs.ways.prepare
    whole = picture_features(*encoders[:2], image, prepare) * ratio
    parts = tile_features(*encoders[:2], image, tiles, TILING, prepare)
    mixed = torch.cat([whole, parts]) if len(image) == 1 else whole + parts * (1 - ratio)
    negative = negative_of(encoders, inputs.image_negative, mixed, inputs.ways)
    return Seen(PromptPair(Features(mixed), Features(negative)))


NODES = [IPAdapterClipVisionEnhancer, IPAdapterClipVisionEnhancerBatch]
