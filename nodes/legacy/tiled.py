"""Versions 1 and 2's nodes that let a picture act in tiles, each in its own place."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ...ipadapter.noise import distorted
from ...ipadapter.preprocess import without_alpha
from ...weight_types.attention import WEIGHT_TYPES
from ..regions.apply import ALL_BLACK
from ..shared.checks import check_image, check_mask
from ..shared.inputs import choice_input
from ..shared.node import Node
from ..shared.notices import warn
from .compat import FAITHFUL
from .encode import Encoders
from .formulas.tiles import Tile, overlapping
from .formulas.tiles_v1 import numbered
from .place import ApplyInputs, Settings, apply_picture, encoders_of
from .sockets import model_output, number, old_node, sockets
from .weight_types import WeightTypeNode

DESCRIPTION = "Lets a wide or tall picture act in tiles, each seen in full."


def tiled_outputs() -> list[Any]:
    return [
        model_output(),
        io.Image.Output(display_name="tiles", tooltip="The tiles, row by row."),
        io.Mask.Output(display_name="masks", tooltip="Where each of them acts."),
    ]


class IPAdapterTiled(WeightTypeNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return old_node(
            "IPAdapterTiled",
            "IPAdapter Tiled",
            DESCRIPTION,
            sockets(
                "model ipadapter image:tiled weight:3 weight_type combine_embeds start_at end_at "
                "sharpening embeds_scaling | image_negative attn_mask clip_vision compat"
            ),
            tiled_outputs(),
        )

    @classmethod
    def execute(
        cls, sharpening: float = 0.0, attn_mask: Tensor | None = None, **inputs: Any
    ) -> io.NodeOutput:
        given = ApplyInputs(**inputs)
        check_image(given.image, "image")
        if attn_mask is not None:
            attn_mask = check_mask(attn_mask, "attn_mask")
            if not attn_mask.any():
                warn(ALL_BLACK.format("reference"))
        tiles = overlapping(given.image, attn_mask, sharpening)
        encoders = encoders_of(given.ipadapter, given.clip_vision)
        negatives = [given.image_negative] * len(tiles)
        model = apply_tiles(given.model, encoders, tiles, given, negatives)
        pictures, masks = (torch.cat(parts) for parts in zip(*tiles, strict=True))
        return io.NodeOutput(model, pictures, masks)


def apply_tiles(
    model: Any,
    encoders: Encoders,
    tiles: list[Tile],
    settings: Settings,
    negatives: list[Tensor | None],
) -> Any:
    """A clone of the model with each tile as a region, but for those that would do nothing.

    ``negatives``: for each tile pictures [images, H, W, 3+] to steer away from, or None.
    """
    for (picture, mask), negative in zip(tiles, negatives, strict=True):
        if mask.any():
            here = replace(settings, attn_mask=mask)
            model, _ = apply_picture(model, encoders, picture, negative, here)
    return model


class IPAdapterTiledBatch(WeightTypeNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return old_node(
            "IPAdapterTiledBatch",
            "IPAdapter Tiled Batch",
            f"{DESCRIPTION} Picture 1 goes to latent 1, picture 2 to latent 2, and so on.",
            sockets(
                "model ipadapter image:tiled weight:3 weight_type start_at end_at sharpening "
                "embeds_scaling encode_batch_size | image_negative attn_mask clip_vision compat"
            ),
            tiled_outputs(),
        )

    @classmethod
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        return IPAdapterTiled.execute(unfold_batch=True, **inputs)


MORE = {
    "weight:0.7": number(
        "weight", 0.7, -1.0, 3.0, 0.05, "How strongly the picture acts; 0 does nothing."
    ),
    "noise": number(
        "noise", 0.0, 0.0, 1.0, 0.01,
        "Makes the negative prompt see distorted copies of the tiles, which strengthens their "
        "shapes. 0 shows it nothing.",
    ),
    "kinds": partial(
        choice_input, "weight_type", WEIGHT_TYPES, "How the weight enters attention."
    ),
    "short_side_tiles": lambda optional: io.Int.Input(
        "short_side_tiles", default=1, min=0, max=12, step=1, optional=optional,
        tooltip="Into how many tiles the shorter side is cut; 1 or 2 is common. 0 does not cut.",
    ),
    "tile_weight": number(
        "tile_weight", 0.6, 0.0, 1.0, 0.05,
        "Where there are several rows and columns: how much the tiles count beside the coarse ones; "
        "0 uses only the coarse ones.",
    ),
}  # fmt: skip


class IPAdapterTilesMasked(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return old_node(
            "IPAdapterTilesMasked",
            "IPAdapter Masked Tiles (experimental)",
            f"{DESCRIPTION} Only the first of several pictures acts.",
            sockets(
                "ipadapter clip_vision image:tiled model weight:0.7 noise kinds start_at end_at "
                "short_side_tiles tile_weight",
                MORE,
            ),
            [model_output()],
            "Fit Image (tiles) and Apply IPAdapter",
        )

    @classmethod
    def execute(  # noqa: PLR0913
        cls,
        ipadapter: Any,
        image: Tensor,
        model: Any,
        clip_vision: Any = None,
        weight: float = 0.7,
        noise: float = 0.0,
        weight_type: str = "original",
        start_at: float = 0.0,
        end_at: float = 1.0,
        short_side_tiles: int = 1,
        tile_weight: float = 0.6,
    ) -> io.NodeOutput:
        check_image(image, "image")
        image = without_alpha(image)
        settings = Settings(
            compat=FAITHFUL,
            weight=weight,
            embeds_scaling=weight_type,
            start_at=start_at,
            end_at=end_at,
        )
        encoders = encoders_of(ipadapter, clip_vision)
        if short_side_tiles == 0:
            negative = distorted(image, noise) if noise > 0 else None
            model, _ = apply_picture(model, encoders, image, negative, settings)
            return io.NodeOutput(model)
        tiles = numbered(image[:1], short_side_tiles, tile_weight)
        negatives: list[Tensor | None] = [None] * len(tiles)
        if noise > 0:
            negatives = list(distorted(torch.cat([t.picture for t in tiles]), noise).split(1))
        return io.NodeOutput(apply_tiles(model, encoders, tiles, settings, negatives))


NODES = [IPAdapterTiled, IPAdapterTiledBatch, IPAdapterTilesMasked]
