"""Versions 1 and 2's nodes that prepare pictures."""

from __future__ import annotations

import torch.nn.functional as F
from comfy_api.latest import io
from torch import Tensor

from ...ipadapter.errors import pick
from ...ipadapter.fit import POSITIONS
from ...ipadapter.pillow import FILTERS, pillow_resized
from ...ipadapter.preprocess import rgb, without_alpha
from ..shared.checks import check_image
from ..shared.node import Node
from .compat import ways
from .formulas.noise import KINDS, noise_picture
from .formulas.sharpen import sharpened
from .sockets import number, old_node, sockets

CLIP_SIDE = 224
FACE_SIDE, BORDER = 640, 30
PAD = "pad"
CROPPED = ["top", "bottom", "left", "right", "center"]
SHARPENING = "Sharpens the small picture; 0 is off."


class IPAdapterNoise(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return old_node(
            "IPAdapterNoise",
            "IPAdapter Noise",
            "Makes a noise picture for image_negative, to steer the reference away from it.",
            [
                io.Combo.Input(
                    "type",
                    options=list(KINDS),
                    tooltip="fade: mixed with random colors; dissolve: single values replaced; "
                    "gaussian: grain; shuffle: the picture in small pieces, with grain.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How much noise replaces the picture. 0 leaves it as it is, except with "
                    "shuffle, which then moves large pieces.",
                ),
                io.Int.Input(
                    "blur",
                    default=0,
                    min=0,
                    max=32,
                    step=1,
                    tooltip="Blurs the result by this many pixels; 0 is off.",
                ),
                io.Image.Input(
                    "image_optional",
                    optional=True,
                    tooltip="The picture to distort, its center square. Without it: a black one.",
                ),
                *sockets("| compat"),
            ],
            [io.Image.Output(display_name="IMAGE", tooltip="Squares of 224 pixels.")],
            "Encode Reference with noise_type",
        )

    @classmethod
    def execute(
        cls,
        type: str = "fade",
        strength: float = 1.0,
        blur: int = 0,
        image_optional: Tensor | None = None,
        compat: str | None = None,
    ) -> io.NodeOutput:
        if image_optional is not None:
            check_image(image_optional, "image_optional")
        seeded = ways(compat).seeded_by_picture
        return io.NodeOutput(noise_picture(image_optional, type, strength, blur, seeded))


class PrepImageForClipVision(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return old_node(
            "PrepImageForClipVision",
            "Prep Image For ClipVision",
            "Makes pictures square and small before the encoder does, which would cut off all but "
            "the center.",
            [
                io.Image.Input("image", tooltip="Pictures of any size and aspect ratio."),
                io.Combo.Input(
                    "interpolation",
                    options=list(FILTERS),
                    tooltip="How they are made smaller; LANCZOS keeps most detail.",
                ),
                io.Combo.Input(
                    "crop_position",
                    options=[*CROPPED, PAD],
                    tooltip="Where the square lies along the longer side. pad: the whole picture, "
                    "with black borders.",
                ),
                number("sharpening", 0.0, 0.0, 1.0, 0.05, SHARPENING)(),
            ],
            [io.Image.Output(display_name="IMAGE", tooltip="Squares of 224 pixels.")],
            "Fit Image",
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        interpolation: str = "LANCZOS",
        crop_position: str = "top",
        sharpening: float = 0.0,
    ) -> io.NodeOutput:
        pixels = squared(image, crop_position)
        return io.NodeOutput(small(pixels, CLIP_SIDE, interpolation, sharpening).movedim(1, -1))


class PrepImageForInsightFace(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return old_node(
            "PrepImageForInsightFace",
            "Prepare Image For InsightFace",
            "Makes pictures square, at a size at which faces are found.",
            [
                io.Image.Input("image", tooltip="Pictures of any size and aspect ratio."),
                io.Combo.Input(
                    "crop_position",
                    options=["center", *CROPPED[:-1]],
                    tooltip="Where the square lies along the longer side.",
                ),
                number("sharpening", 0.0, 0.0, 1.0, 0.05, SHARPENING)(),
                io.Boolean.Input(
                    "pad_around",
                    default=True,
                    tooltip="A white border, for faces that fill the picture.",
                ),
            ],
            [io.Image.Output(display_name="IMAGE", tooltip="Squares of 640 pixels.")],
            "Apply IPAdapter FaceID, which needs no preparation",
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        crop_position: str = "center",
        sharpening: float = 0.0,
        pad_around: bool = True,
    ) -> io.NodeOutput:
        border = BORDER if pad_around else 0
        pixels = small(squared(image, crop_position), FACE_SIDE - 2 * border, "LANCZOS", sharpening)
        return io.NodeOutput(F.pad(pixels, [border] * 4, value=1.0).movedim(1, -1))


def squared(image: Tensor, crop_position: str) -> Tensor:
    """Pictures [images, H, W, channels] -> their squares [images, 3, side, side]."""
    check_image(image, "image")
    pixels = rgb(without_alpha(image))
    height, width = pixels.shape[-2:]
    if crop_position == PAD:
        side = max(height, width)
        down, right = (side - height) // 2, (side - width) // 2
        return F.pad(pixels, [right, side - width - right, down, side - height - down])
    side = min(height, width)
    place = pick(POSITIONS, crop_position, "crop_position").value
    down, right = int((height - side) * place[0]), int((width - side) * place[1])
    return pixels[..., down : down + side, right : right + side]


def small(pixels: Tensor, side: int, interpolation: str, sharpening: float) -> Tensor:
    """[images, 3, H, H] -> [images, 3, side, side]"""
    pixels = pillow_resized(pixels, side, side, interpolation)
    return sharpened(pixels, sharpening) if sharpening > 0 else pixels


NODES = [IPAdapterNoise, PrepImageForClipVision, PrepImageForInsightFace]
