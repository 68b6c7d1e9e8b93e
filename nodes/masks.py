"""The mask nodes: sockets only; the arithmetic is in masks/."""

from comfy_api.latest import io

from ..ipadapter.errors import IPAdapterError
from ..masks.color import SOFT_EDGE, mask_from_color
from ..masks.shapes import OPERATIONS, composite, feather, solid
from .checks import check_image, check_mask
from .notices import say

LARGEST = 16384  # ComfyUI's own limit for a width or a height


class SolidMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterSolidMask",
            display_name="Solid Mask (IPAdapter)",
            category="IPAdapter Regions",
            description="Makes a mask with one value everywhere: a canvas to combine regions on.",
            search_aliases=["create mask", "blank mask", "empty mask", "black mask", "white mask"],
            inputs=[
                io.Float.Input(
                    "value",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much the reference acts: 1 is white, all of it; 0 is black, none.",
                ),
                io.Int.Input(
                    "width",
                    default=512,
                    min=1,
                    max=LARGEST,
                    step=1,
                    tooltip="Width in pixels, at least 1. For a full canvas: the picture's width.",
                ),
                io.Int.Input(
                    "height",
                    default=512,
                    min=1,
                    max=LARGEST,
                    step=1,
                    tooltip="Height in pixels, at least 1. For a full canvas: the picture's height.",
                ),
            ],
            outputs=[io.Mask.Output(display_name="mask", tooltip="One mask of this value.")],
        )

    @classmethod
    def execute(cls, value: float, width: int, height: int) -> io.NodeOutput:
        return io.NodeOutput(solid(value, width, height))


class FeatherMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterFeatherMask",
            display_name="Feather Mask (IPAdapter)",
            category="IPAdapter Regions",
            description="Fades a mask towards the sides of its canvas, so that a region runs "
            "softly into what lies beside it.",
            search_aliases=["soft edge", "fade mask", "mask gradient", "blend edge", "ramp"],
            inputs=[
                io.Mask.Input("mask", tooltip="The mask to fade. Its size stays as it is."),
                *(fade_input(side) for side in ("left", "top", "right", "bottom")),
            ],
            outputs=[io.Mask.Output(display_name="mask", tooltip="The faded mask.")],
        )

    @classmethod
    def execute(cls, mask, left: int, top: int, right: int, bottom: int) -> io.NodeOutput:
        return io.NodeOutput(feather(check_mask(mask, "mask"), left, top, right, bottom))


def fade_input(side: str) -> io.Int.Input:
    return io.Int.Input(
        side,
        default=0,
        min=0,
        max=LARGEST,
        step=1,
        tooltip=f"Pixels over which the mask fades towards its {side} side; 50 to 200 hides a "
        "seam. 0 leaves this side hard; more than the mask has counts as all of it.",
    )


class MaskComposite(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterMaskComposite",
            display_name="Mask Composite (IPAdapter)",
            category="IPAdapter Regions",
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
                io.Combo.Input(
                    "operation",
                    options=list(OPERATIONS),
                    default="add",
                    tooltip="What happens where the two overlap. add joins them, subtract cuts the "
                    "source out, multiply keeps what they share, max and min keep the higher or "
                    "the lower value; and, or, xor first round both to black and white.",
                ),
            ],
            outputs=[io.Mask.Output(display_name="mask", tooltip="The canvas with the source.")],
        )

    @classmethod
    def execute(cls, destination, source, x: int, y: int, operation: str) -> io.NodeOutput:
        destination = check_mask(destination, "destination")
        source = check_mask(source, "source")
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


class MaskFromColor(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterMaskFromColor",
            display_name="Mask From Color (IPAdapter)",
            category="IPAdapter Regions",
            description="Turns one color of a painted picture into a mask: one color per region.",
            search_aliases=[
                "color to mask",
                "color key",
                "chroma key",
                "color map",
                "segmentation",
            ],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="The picture with the painted regions. Fully transparent pixels have "
                    "no color.",
                ),
                io.String.Input(
                    "color",
                    default="#FF0000",
                    tooltip="The color to look for: #RRGGBB, #RGB, r,g,b, rgb(r,g,b), a CSS name "
                    "such as tomato, or a whole number such as 16711680.",
                ),
                io.Int.Input(
                    "tolerance",
                    default=16,
                    min=0,
                    max=255,
                    step=1,
                    tooltip="How far red, green and blue may each be off, in steps of 0 to 255; "
                    f"the mask fades out over {SOFT_EDGE} more. 0 wants the exact color, 10 to 40 "
                    "suits JPEG pictures, 255 takes every color.",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    display_name="mask", tooltip="White where the color is: one mask per picture."
                )
            ],
        )

    @classmethod
    def execute(cls, image, color: str, tolerance: int) -> io.NodeOutput:
        check_image(image, "image")
        try:
            mask = mask_from_color(image, color, tolerance)
        except ValueError as error:
            raise IPAdapterError(str(error)) from None
        if not mask.any():
            say(
                f"the image has no pixel of the color {color} (tolerance {tolerance}), so the mask "
                "is black: raise the tolerance, or pick the color from the picture"
            )
        return io.NodeOutput(mask)


NODES = [SolidMask, FeatherMask, MaskComposite, MaskFromColor]
