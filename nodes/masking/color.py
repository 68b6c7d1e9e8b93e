"""Mask From Color: one color of a painted picture."""

from comfy_api.latest import io

from ...ipadapter.errors import IPAdapterError
from ...masks.color import SOFT_EDGE, mask_from_color
from ..shared.checks import check_image
from ..shared.inputs import ADVANCED
from ..shared.node import Node
from ..shared.notices import warn


class MaskFromColor(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterMaskFromColor",
            display_name="Mask From Color (IPAdapter)",
            category=ADVANCED,
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
            warn(
                f"the image has no pixel of the color {color} (tolerance {tolerance}), so the mask "
                "is black: raise the tolerance, or pick the color from the picture"
            )
        return io.NodeOutput(mask)


NODES = [MaskFromColor]
