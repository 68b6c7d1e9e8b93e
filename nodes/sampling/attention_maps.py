"""Seeing where each reference acts: recording attention while sampling, and drawing it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from comfy_api.latest import io, ui
from torch import Tensor

from ...ipadapter.errors import pick
from ...ipadapter.options import Option
from ...masks.grid import to_grid
from ..model.layers import unet_of
from ..shared.inputs import ADVANCED, choice_input
from ..shared.node import Node
from .recording import RECORD_KEY, Record

RecordSocket = io.Custom("IPADAPTER_RECORD")


class RecordAttention(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterRecordAttention",
            display_name="Record Attention",
            category=ADVANCED,
            description="Records during sampling how strongly each reference acts at each place, for "
            "Attention Maps. The picture stays the same to the bit.",
            search_aliases=["attention map", "heatmap", "debug", "visualize reference"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="An SD1.5 or SDXL model. References may be applied before this node or "
                    "after it.",
                ),
            ],
            outputs=[
                io.Model.Output(
                    display_name="model", tooltip="The model for the sampler, or for more Apply."
                ),
                RecordSocket.Output(
                    display_name="record",
                    tooltip="For Attention Maps: the last sampling runs of this model.",
                ),
            ],
        )

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        unet_of(model)
        record = model.attachments.get(RECORD_KEY)
        if record is None:
            record, model = Record(), model.clone()
            model.set_attachments(RECORD_KEY, record)
            wrapper = record.outer_sample
            model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, RECORD_KEY, wrapper)
        return io.NodeOutput(model, record)


class AttentionMaps(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterAttentionMaps",
            display_name="Attention Maps",
            category=ADVANCED,
            description="Draws where each reference acted in a sampling run: a picture per "
            "reference, bright where it changes attention most.",
            search_aliases=["attention map", "heatmap", "where does a reference act", "debug"],
            inputs=[
                RecordSocket.Input("record", tooltip="From Record Attention."),
                io.Latent.Input(
                    "latent",
                    tooltip="The sampler's output: it says which run to draw, and makes this node "
                    "wait for the sampler.",
                ),
                choice_input(
                    "scale", SCALES, "What white means.", default="together", optional=True
                ),
                choice_input(
                    "frames", FRAMES, "Which maps are drawn.", default="average", optional=True
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="image",
                    tooltip="A map per reference, in the order in which they were applied, as "
                    "large as the picture.",
                ),
                io.Mask.Output(display_name="mask", tooltip="The same maps as masks, 0 to 1."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        record: Record,
        latent: dict[str, Any],
        scale: str = "together",
        frames: str = "average",
    ) -> io.NodeOutput:
        choose = pick(FRAMES, frames, "frames").value
        white_of = pick(SCALES, scale, "scale").value
        run = record.find(latent["samples"])
        maps = choose(run.maps).flatten(0, 1)
        maps = to_grid(maps, *(side * run.cell for side in maps.shape[-2:]))
        white = white_of(maps)
        maps = torch.where(white > 0, maps / white, 0.0)
        image = maps[..., None].repeat(1, 1, 1, 3)
        return io.NodeOutput(image, maps, ui=ui.PreviewImage(image))


# [references, latents, height, width] -> as many of the latents as are drawn
FRAMES: dict[str, Option[Callable[[Tensor], Tensor]]] = {
    "average": Option(
        lambda maps: maps.mean(1, keepdim=True),
        "one map per reference, over all latents of the batch",
    ),
    "each": Option(
        lambda maps: maps,
        "a map for every latent, all of the first reference, then all of the second",
    ),
}

# [maps, height, width] -> what is white
SCALES: dict[str, Option[Callable[[Tensor], Tensor]]] = {
    "together": Option(
        lambda maps: maps.amax(), "the highest value of all maps, so that they can be compared"
    ),
    "each": Option(
        lambda maps: maps.amax((-2, -1), keepdim=True),
        "the highest value of each map, so that weak references show too",
    ),
}

NODES = [RecordAttention, AttentionMaps]
