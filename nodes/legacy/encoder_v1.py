"""Version 1's encoder, of up to four pictures: positive and negative in one, [2, images, ...]."""

from __future__ import annotations

from functools import partial
from typing import Any

import comfy.utils
import torch
from comfy_api.latest import io
from torch import Tensor

from ...ipadapter.noise import distorted
from ...ipadapter.preprocess import fit_to_encoder, rgb, without_alpha
from ..references.encode import check_encoder, encode_picture, encode_unconditional, image_size
from ..shared.checks import check_image
from ..shared.node import Node
from ..shared.progress import one_by_one
from .embed_values import embeds_output
from .embeds import ENCODE
from .sockets import number, old_node, sockets

ENCODER = "IPAdapterEncoder"  # which version 2 has too, with other inputs
ENCODER_V1 = "IPAdapterEncoderV1"
FEATURES = {False: "image_embeds", True: "penultimate_hidden_states"}  # by ipadapter_plus


class IPAdapterEncoderV1(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        numbers = range(1, 5)
        images = {
            f"image_{i}": partial(
                io.Image.Input, f"image_{i}", tooltip="A reference, or a batch of them."
            )
            for i in numbers
        }
        weights = {
            f"weight_{i}": number(
                f"weight_{i}", 1.0, 0.0, 1.0, 0.01,
                f"How much image_{i} counts, squared. 0 makes it say nothing.",
            )
            for i in numbers
        }  # fmt: skip
        plus = partial(
            io.Boolean.Input,
            "ipadapter_plus",
            default=False,
            tooltip="On for the adapters Plus, Plus Face and Full Face.",
        )
        noise = number(
            "noise", 0.0, 0.0, 1.0, 0.01,
            "Makes the negative prompt see distorted copies. 0.2 to 0.5 is common; 0 shows it "
            "nothing.",
        )  # fmt: skip
        return old_node(
            ENCODER_V1,
            "Encode IPAdapter Image (version 1)",
            "What CLIP sees in up to four pictures, for Apply IPAdapter from Encoded.",
            sockets(
                "clip_vision:needed image_1 ipadapter_plus noise weight_1 | "
                "image_2 image_3 image_4 weight_2 weight_3 weight_4",
                {**images, **weights, "ipadapter_plus": plus, "noise": noise},
            ),
            [embeds_output("EMBEDS", "What CLIP sees, and what the negative prompt sees.")],
            ENCODE,
        )

    @classmethod
    def execute(  # noqa: PLR0913
        cls,
        clip_vision: Any,
        image_1: Tensor,
        ipadapter_plus: bool = False,
        noise: float = 0.0,
        weight_1: float = 1.0,
        image_2: Tensor | None = None,
        image_3: Tensor | None = None,
        image_4: Tensor | None = None,
        weight_2: float = 1.0,
        weight_3: float = 1.0,
        weight_4: float = 1.0,
    ) -> io.NodeOutput:
        check_encoder(clip_vision)
        weights = [weight_1, weight_2, weight_3, weight_4]
        given = [
            (f"image_{i}", image, weight)
            for i, (image, weight) in enumerate(
                zip((image_1, image_2, image_3, image_4), weights, strict=True), 1
            )
            if image is not None
        ]
        for name, image, _ in given:
            check_image(image, name)
        batch = same_size([image for _, image, _ in given])
        factors = torch.cat([torch.full((len(image),), w * w) for _, image, w in given])
        feature = FEATURES[ipadapter_plus]
        positive = features(clip_vision, batch, feature)
        negative = negatives(clip_vision, batch, feature, noise, positive)
        positive = positive * factors.view(-1, *[1] * (positive.ndim - 1))
        return io.NodeOutput(torch.stack((positive, negative)))


def same_size(images: list[Tensor]) -> Tensor:
    """One batch, all as large as the first, [images, H, W, 3]."""
    pixels = [rgb(without_alpha(image)) for image in images]
    height, width = pixels[0].shape[-2:]
    scaled = [
        p
        if p.shape[-2:] == (height, width)
        else comfy.utils.common_upscale(p, width, height, "bilinear", "center")
        for p in pixels
    ]
    return torch.cat(scaled).movedim(1, -1)


def features(clip_vision: Any, images: Tensor, feature: str) -> Tensor:
    """[images, H, W, 3] -> [images, ...]"""
    size = image_size(clip_vision)
    return torch.cat(
        [
            encode_picture(
                clip_vision, fit_to_encoder(picture[None], size), feature, "this encoding"
            )
            for picture in one_by_one(images)
        ]
    )


def negatives(
    clip_vision: Any, images: Tensor, feature: str, noise: float, positive: Tensor
) -> Tensor:
    """What the negative prompt sees, [images, ...] like ``positive``: with ``noise``, distorted
    pictures [images, H, W, 3]."""
    if noise > 0:
        return features(clip_vision, distorted(images, noise), feature)
    if feature == "image_embeds":
        return torch.zeros_like(positive)
    return encode_unconditional(clip_vision).expand_as(positive)


NODES = [IPAdapterEncoderV1]
