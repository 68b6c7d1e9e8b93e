"""Nodes that change the regions of a model: for tiles and details, which are parts of a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ...ipadapter.reference import Region
from ...masks.layout import Area, crop
from ..model.lora import remove_face_lora
from ..sampling.patching import change_regions, regions_of, remove_regions
from ..shared.inputs import ADVANCED, LARGEST
from ..shared.node import Node
from ..shared.notices import warn


class CropRegions(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterCropRegions",
            display_name="Crop Regions",
            category=ADVANCED,
            description="Crops every region of a model to a rectangle of the picture, for a second "
            "pass over that part alone: a detailer, a tile, a cropped inpaint.",
            search_aliases=["detailer", "tile", "crop mask", "inpaint crop", "upscale"],
            inputs=[
                io.Model.Input("model", tooltip="A model with references in it."),
                place("x", "Where the rectangle's left side lies, in pixels of the picture."),
                place("y", "Where the rectangle's top lies, in pixels of the picture."),
                side("width", 512, 1, "Width of the rectangle in pixels of the picture."),
                side("height", 512, 1, "Height of the rectangle in pixels of the picture."),
                side("picture_width", 0, 0, PICTURE.format("width")),
                side("picture_height", 0, 0, PICTURE.format("height")),
            ],
            outputs=[
                io.Model.Output(
                    display_name="model",
                    tooltip="The model for the cropped pass. References without a mask still act "
                    "everywhere.",
                )
            ],
        )

    @classmethod
    def execute(  # noqa: PLR0913
        cls,
        model: Any,
        x: int,
        y: int,
        width: int,
        height: int,
        picture_width: int = 0,
        picture_height: int = 0,
    ) -> io.NodeOutput:
        regions = regions_of(model)
        if not regions:
            warn(NO_REFERENCES)
            return io.NodeOutput(model)
        picture = (picture_height, picture_width) if picture_width and picture_height else None
        sizes = {
            tuple(m.shape[-2:]) for r in regions for m in r.settings.masks if m is not None
        } - {(1, 1)}
        if picture is None and len(sizes) > 1:
            found = ", ".join(f"{width} x {height}" for height, width in sorted(sizes))
            warn(f"the masks are of several sizes ({found}): set picture_width and picture_height")
        area = Area(y, x, height, width)
        if sizes and all(outside(area, picture or size) for size in sizes):
            warn(f"the rectangle at {x}, {y} lies outside of every mask, so it has no region")
        return io.NodeOutput(
            change_regions(
                model, lambda region: with_masks(region, lambda mask: crop(mask, picture, area))
            )
        )


def with_masks(region: Region, change: Callable[[Tensor], Tensor]) -> Region:
    return replace(region, settings=region.settings.with_masks(change))


def outside(area: Area, size: tuple[int, ...]) -> bool:
    height, width = size
    across = area.x + area.width <= 0 or area.x >= width
    return across or area.y + area.height <= 0 or area.y >= height


NO_REFERENCES = "this model has no references of IPAdapter Regions: it stays as it is"
PICTURE = (
    "The whole picture's {} in pixels, if the masks have another size. 0: the masks have the "
    "picture's size."
)


def place(name: str, tooltip: str) -> Any:
    return io.Int.Input(name, default=0, min=-LARGEST, max=LARGEST, step=1, tooltip=tooltip)


def side(name: str, default: int, least: int, tooltip: str) -> Any:
    return io.Int.Input(
        name, default=default, min=least, max=LARGEST, step=1, tooltip=tooltip, optional=not least
    )


class RemoveReferences(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterRemove",
            display_name="Remove IPAdapter",
            category=ADVANCED,
            description="Removes all references from a model, with the LoRA inside a FaceID "
            "adapter, for a pass that must not see them.",
            search_aliases=["reset", "clear ipadapter", "bypass", "without references"],
            inputs=[io.Model.Input("model", tooltip="A model with references in it.")],
            outputs=[
                io.Model.Output(
                    display_name="model",
                    tooltip="The model without them. What other nodes changed in it stays.",
                )
            ],
        )

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        if not regions_of(model):
            warn(NO_REFERENCES)
            return io.NodeOutput(model)
        return io.NodeOutput(remove_face_lora(remove_regions(model)))


NODES = [CropRegions, RemoveReferences]
