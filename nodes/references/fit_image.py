"""Fit Image: a picture as the encoder will see it."""

import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ...ipadapter.fit import MODES, POSITIONS, fit, fit_alpha
from ..shared.checks import check_image
from ..shared.inputs import ADVANCED, choice_input
from ..shared.node import Node
from ..shared.progress import one_by_one


class FitImage(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterFitImage",
            display_name="Fit Image",
            category=ADVANCED,
            description="Makes pictures square before the encoder does, which would cut off all but "
            "the center. The node shows what comes out, which is what the encoder sees.",
            search_aliases=["Prep Image For ClipVision", "crop", "pad", "tiles", "square"],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="Pictures of any size and aspect ratio; what is transparent says nothing.",
                ),
                choice_input("mode", MODES, "How a picture becomes square.", default="crop"),
                choice_input(
                    "crop_position",
                    POSITIONS,
                    "Where the square lies along the picture's longer side. Only for crop.",
                    default="center",
                ),
                io.Int.Input(
                    "size",
                    default=224,
                    min=32,
                    max=4096,
                    step=1,
                    tooltip="Width and height of each square: the encoder's, 224 for most, 336 for "
                    "ViT-L at 336 pixels. Larger ones keep detail for enhance_tiles.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="image",
                    tooltip="Squares of that size, without alpha; several of each picture for tiles.",
                ),
                io.Mask.Output(
                    display_name="mask",
                    tooltip="The pictures' alpha, fitted the same way: white where there is something "
                    "to see. White everywhere for pictures without alpha, but for the borders of pad.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, image: Tensor, mode: str = "crop", crop_position: str = "center", size: int = 224
    ) -> io.NodeOutput:
        check_image(image, "image")
        how = (mode, crop_position, size)
        pairs = [(fit(p, *how), fit_alpha(p, *how)) for p in one_by_one(image.split(1))]
        fitted, masks = (torch.cat(squares) for squares in zip(*pairs, strict=True))
        return io.NodeOutput(fitted, masks, ui=ui.PreviewImage(fitted))


NODES = [FitImage]
