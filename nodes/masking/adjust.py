"""Nodes that give masks another shape or size, and the inputs that say which size."""

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ...ipadapter.errors import IPAdapterError, pick
from ...masks.edges import adjust
from ...masks.fit import MODES, fit
from ..shared.checks import check_image, check_mask
from ..shared.inputs import ADVANCED, LARGEST, choice_input
from ..shared.node import Node

FARTHEST = 1024  # pixels that a mask grows


class AdjustMask(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterAdjustMask",
            display_name="Adjust Mask (IPAdapter)",
            category=ADVANCED,
            description="Makes a mask black and white, grows or shrinks it, or inverts it, in this "
            "order.",
            search_aliases=[
                *("threshold mask", "binary mask", "grow mask", "expand mask"),
                *("shrink mask", "dilate", "erode", "invert mask"),
            ],
            inputs=[
                io.Mask.Input("mask", tooltip="The mask to adjust. Its size stays as it is."),
                io.Float.Input(
                    "threshold",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="First: values of at least this become white, all else black. 0.5 suits "
                    "most; 0 leaves grays and soft edges as they are.",
                ),
                io.Int.Input(
                    "grow",
                    default=0,
                    min=-FARTHEST,
                    max=FARTHEST,
                    step=1,
                    tooltip="Then: pixels by which white grows on all sides, with round corners; "
                    "below 0 it shrinks. A soft edge moves and stays soft. 8 to 64 closes gaps "
                    "between regions; 0 leaves the shape.",
                ),
                io.Boolean.Input(
                    "invert",
                    default=False,
                    tooltip="Last: white becomes black, and black white.",
                ),
            ],
            outputs=[io.Mask.Output(display_name="mask", tooltip="The adjusted mask.")],
        )

    @classmethod
    def execute(
        cls, mask: Tensor, threshold: float = 0.0, grow: int = 0, invert: bool = False
    ) -> io.NodeOutput:
        return io.NodeOutput(adjust(check_mask(mask, "mask"), threshold, grow, invert))


class FitMask(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterFitMask",
            display_name="Fit Mask (IPAdapter)",
            category=ADVANCED,
            description="Brings a mask to the size of a picture or a latent. Regions stretch a "
            "mask of another shape; here you decide what happens to it instead.",
            search_aliases=["resize mask", "scale mask", "crop mask", "pad mask", "mask size"],
            inputs=[
                io.Mask.Input("mask", tooltip="A mask of any size and aspect ratio."),
                choice_input(
                    "mode",
                    MODES,
                    "What becomes of a mask of another aspect ratio.",
                    default="stretch",
                ),
                *size_inputs(),
                io.Float.Input(
                    "outside",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="What the borders get in the mode contain: 0 black, where the "
                    "reference does not act; 1 white. The other modes have no borders.",
                ),
            ],
            outputs=[io.Mask.Output(display_name="mask", tooltip="The mask in the new size.")],
        )

    @classmethod
    def execute(  # noqa: PLR0913
        cls,
        mask: Tensor,
        mode: str = "stretch",
        image: Tensor | None = None,
        latent: dict[str, Any] | None = None,
        width: int = 512,
        height: int = 512,
        outside: float = 0.0,
    ) -> io.NodeOutput:
        mask = check_mask(mask, "mask")
        pick(MODES, mode, "mode")
        width, height = wanted_size(image, latent, width, height)
        return io.NodeOutput(fit(mask, width, height, mode, outside))


def size_inputs() -> list[Any]:
    """image, latent, width and height, all optional."""
    return [
        *pictures_for_size(),
        *(side_input(side, optional=True) for side in ("width", "height")),
    ]


def pictures_for_size() -> list[Any]:
    return [
        io.Image.Input(
            "image",
            optional=True,
            tooltip="The mask gets this picture's size, and width and height are not used; nor is "
            "latent.",
        ),
        io.Latent.Input(
            "latent",
            optional=True,
            tooltip="The mask gets the size of this latent's picture (8 pixels per cell, unless "
            "the latent says otherwise), and width and height are not used.",
        ),
    ]


def side_input(side: str, optional: bool = False) -> io.Int.Input:
    return io.Int.Input(
        side,
        default=512,
        min=1,
        max=LARGEST,
        step=1,
        optional=optional,
        tooltip=f"{side.capitalize()} in pixels, at least 1. For a full canvas: the picture's "
        f"{side}. Used when neither image nor latent is connected.",
    )


def wanted_size(
    image: Tensor | None, latent: dict[str, Any] | None, width: int, height: int
) -> tuple[int, int]:
    """(width, height) in pixels: of an image [images, H, W, channels], or else the latent's, or else
    these."""
    if image is not None:
        check_image(image, "image")
        return image.shape[2], image.shape[1]
    if latent is None:
        return width, height
    if latent.get("samples") is None:
        raise IPAdapterError("latent has no samples: connect one that a sampler would take")
    cells = list(latent["samples"].shape)  # of nested ones, the picture's
    if latent.get("type") == "audio" or len(cells) < 4 or min(cells[-2:]) == 0:
        raise IPAdapterError(
            f"latent has the shape {cells} and is not of a picture or a video: connect one with "
            "[latents, channels, height, width], or set width and height"
        )
    # Empty latents name it; an encoder's and a sampler's do not, and are nearly all 8.
    pixels = latent.get("downscale_ratio_spacial", 8)
    return cells[-1] * pixels, cells[-2] * pixels


NODES = [AdjustMask, FitMask]
