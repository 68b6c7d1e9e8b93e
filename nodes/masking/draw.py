"""The mask nodes: sockets only; the arithmetic is in masks/."""

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ...ipadapter.errors import pick
from ...masks.edges import DIRECTIONS, feather_shape
from ...masks.shapes import CURVES, OPERATIONS, composite, feather, solid
from ..shared.checks import check_mask
from ..shared.inputs import ADVANCED, CATEGORY, LARGEST, choice_input
from ..shared.node import Node
from .adjust import pictures_for_size, side_input, wanted_size


class SolidMask(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterSolidMask",
            display_name="Solid Mask (IPAdapter)",
            category=CATEGORY,
            description="Makes a mask with one value, either everywhere (a canvas to combine regions "
            "on) or in one box (a region).",
            search_aliases=[
                *("create mask", "blank mask", "empty mask", "black mask", "white mask"),
                *("rectangle", "box", "region by fractions"),
            ],
            inputs=[
                io.Float.Input(
                    "value",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much the reference acts: 1 is white, all of it; 0 is black, none.",
                ),
                side_input("width"),
                side_input("height"),
                *(box_input(*edge) for edge in BOX),
                *pictures_for_size(),
            ],
            outputs=[io.Mask.Output(display_name="mask", tooltip="One mask, white in the box.")],
        )

    @classmethod
    def execute(  # noqa: PLR0913
        cls,
        value: float,
        width: int,
        height: int,
        box_left: float = 0.0,
        box_top: float = 0.0,
        box_width: float = 1.0,
        box_height: float = 1.0,
        image: Tensor | None = None,
        latent: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        width, height = wanted_size(image, latent, width, height)
        return io.NodeOutput(
            solid(value, width, height, (box_left, box_top, box_width, box_height))
        )


BOX = [
    ("left", 0.0, "Where the box begins: 0 at the left side, 0.5 in the middle."),
    ("top", 0.0, "Where the box begins: 0 at the top side, 0.5 in the middle."),
    ("width", 1.0, "The box's width: 1 is the whole canvas, 0.5 half of it, 0 no box."),
    ("height", 1.0, "The box's height: 1 is the whole canvas, 0.5 half of it, 0 no box."),
]


def box_input(edge: str, default: float, tooltip: str) -> io.Float.Input:
    return io.Float.Input(
        f"box_{edge}",
        default=default,
        min=0.0,
        max=1.0,
        step=0.01,
        optional=True,
        tooltip=f"{tooltip} A fraction of the canvas; outside the box the mask is 0.",
    )


class FeatherMask(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterFeatherMask",
            display_name="Feather Mask (IPAdapter)",
            category=CATEGORY,
            description="Fades a mask towards the sides of its canvas, or along its own edge, so that "
            "a region runs softly into what lies beside it.",
            search_aliases=[
                "soft edge",
                "fade mask",
                "mask gradient",
                "blend edge",
                "ramp",
                "blur",
            ],
            inputs=[
                io.Mask.Input("mask", tooltip="The mask to fade. Its size stays as it is."),
                *(fade_input(side) for side in ("left", "top", "right", "bottom")),
                io.Int.Input(
                    "shape_feather",
                    default=0,
                    min=0,
                    max=LARGEST,
                    step=1,
                    optional=True,
                    tooltip="Pixels over which the mask fades along its own edge, wherever that "
                    "lies; 30 to 150 hides a seam. 0 leaves the edge as it is. The edge is where "
                    "the mask passes 0.5; the sides of the canvas are not part of it.",
                ),
                choice_input(
                    "direction",
                    DIRECTIONS,
                    "Where the fade of shape_feather lies.",
                    default="inward",
                    optional=True,
                ),
                choice_input(
                    "curve", CURVES, "The form of all fades.", default="linear", optional=True
                ),
            ],
            outputs=[io.Mask.Output(display_name="mask", tooltip="The faded mask.")],
        )

    @classmethod
    def execute(  # noqa: PLR0913
        cls,
        mask: Tensor,
        left: int,
        top: int,
        right: int,
        bottom: int,
        shape_feather: int = 0,
        direction: str = "inward",
        curve: str = "linear",
    ) -> io.NodeOutput:
        mask = check_mask(mask, "mask")
        pick(DIRECTIONS, direction, "direction")
        pick(CURVES, curve, "curve")
        mask = feather_shape(mask, shape_feather, direction, curve)
        return io.NodeOutput(feather(mask, left, top, right, bottom, curve))


def fade_input(side: str) -> io.Int.Input:
    return io.Int.Input(
        side,
        default=0,
        min=0,
        max=LARGEST,
        step=1,
        tooltip=f"Pixels over which the mask fades towards its {side} side; 50 to 200 hides a "
        "seam. 0 leaves this side hard; the mask's size is the most.",
    )


class MaskComposite(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterMaskComposite",
            display_name="Mask Composite (IPAdapter)",
            category=ADVANCED,
            description="Places one mask on another and combines the two where they overlap.",
            search_aliases=["combine masks", "blend masks", "paste mask", "add masks", "layer"],
            inputs=[
                io.Mask.Input(
                    "destination",
                    tooltip="The canvas: the result has its size. One mask serves many sources.",
                ),
                io.Mask.Input(
                    "source",
                    tooltip="The mask that is placed on the canvas. What sticks out is cut off.",
                ),
                offset_input("x", "left", "right"),
                offset_input("y", "top", "bottom"),
                choice_input(
                    "operation",
                    OPERATIONS,
                    "What happens where the two overlap.",
                    default="add",
                ),
            ],
            outputs=[io.Mask.Output(display_name="mask", tooltip="The canvas with the source.")],
        )

    @classmethod
    def execute(cls, destination, source, x: int, y: int, operation: str) -> io.NodeOutput:
        destination = check_mask(destination, "destination")
        source = check_mask(source, "source")
        pick(OPERATIONS, operation, "operation")
        return io.NodeOutput(composite(destination, source, x, y, operation))


def offset_input(axis: str, near: str, far: str) -> io.Int.Input:
    return io.Int.Input(
        axis,
        default=0,
        min=-LARGEST,
        max=LARGEST,
        step=1,
        tooltip=f"Where the source's {near} side lies, in pixels from the canvas's {near} side. "
        f"0 puts it there, more moves it towards the {far}, less than 0 cuts off its beginning.",
    )


NODES = [SolidMask, FeatherMask, MaskComposite]
