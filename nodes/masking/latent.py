"""Mask To Latent Space: a mask of pixels and frames as the noise_mask of a latent."""

from __future__ import annotations

from typing import Any

import torch
from comfy.nested_tensor import NestedTensor
from comfy_api.latest import io
from torch import Tensor

from ...ipadapter.errors import pick
from ...masks.layout import per_latent, same_shape
from ...masks.video import (
    SPATIAL,
    TEMPORAL,
    Group,
    cut_rim,
    frame_groups,
    in_pixels,
    one_each,
    reduce_space,
    reduce_time,
)
from ..shared.checks import check_mask
from ..shared.inputs import ADVANCED, choice_input
from ..shared.node import Node
from ..shared.notices import warn
from .latent_sizes import Place, read


class MaskToLatentSpace(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterMaskToLatentSpace",
            display_name="Mask To Latent Space (IPAdapter)",
            category=ADVANCED,
            description="Gives a latent a noise mask (what a sampler repaints), one value per latent "
            "cell and latent frame, with the frames of a video grouped as its VAE groups them. "
            "It is neither an attention mask nor a conditioning mask.",
            search_aliases=["noise mask", "latent noise mask", "video inpaint", "wan mask"],
            inputs=[
                io.Mask.Input(
                    "mask",
                    tooltip="White: the sampler repaints here. Black: the latent stays. Gray: mixed, "
                    "or repainted in fewer steps with Differential Diffusion. In pixels, one mask "
                    "for all or one per frame of the video (per picture of a batch). attn_mask needs "
                    "this mask, not the result.",
                ),
                io.Latent.Input(
                    "latent",
                    tooltip="The latent that will be sampled, of pictures or of a video. A noise "
                    "mask that it has is replaced.",
                ),
                io.Vae.Input(
                    "vae",
                    tooltip="The VAE of that latent: it tells how many pixels a latent cell covers "
                    "and which frames a latent frame covers. Nothing is encoded.",
                ),
                choice_input("spatial", SPATIAL, "The value of a latent cell.", default="max"),
                choice_input(
                    "temporal",
                    TEMPORAL,
                    "The value of a latent frame that covers several frames; pictures have one frame "
                    "each.",
                    default="max",
                ),
            ],
            outputs=[
                io.Latent.Output(
                    display_name="latent",
                    tooltip="The same latent with this noise mask, for a sampler.",
                ),
                io.Mask.Output(
                    display_name="preview",
                    tooltip="What is repainted, in blocks of whole latent cells and frames, but at "
                    "the size and length of the picture or video: to lay over it.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        mask: Tensor,
        latent: dict[str, Any],
        vae: Any,
        spatial: str = "max",
        temporal: str = "max",
    ) -> io.NodeOutput:
        pick(SPATIAL, spatial, "spatial")
        pick(TEMPORAL, temporal, "temporal")
        mask = check_mask(mask, "mask")
        place = read(latent, vae)
        fitted, groups = fit(mask, place)
        cells = reduce_space(fitted, place.height, place.width, spatial)
        cells = reduce_time(by_video(cells, groups[-1][1], place.batch), groups, temporal)
        noise_mask = cells[:, None] if place.is_video else cells
        masked = {**latent, "noise_mask": beside_sound(noise_mask, latent)}
        return io.NodeOutput(masked, in_pixels(cells, place.groups, place.ratio))


def fit(mask: Tensor, place: Place) -> tuple[Tensor, list[Group]]:
    """The mask [masks, H, W] less what the VAE cut off, and which masks belong to a latent frame."""
    height, width = mask.shape[-2:]
    if (height, width) == (place.height, place.width) and place.ratio > 1:
        warn(
            f"mask is {width}x{height}, the size of the latent and not of its picture "
            f"({place.picture}): its pixels are used as latent cells"
        )
        latents = len(place.groups)
        return mask, frame_groups(one_each, latents) if len(mask) == latents else place.groups
    if place.cuts:
        mask = cut_rim(mask, place.height, place.width, place.ratio)
    if not same_shape(mask.shape[-2:], (place.height, place.width)):
        warn(
            f"mask is {width}x{height} and the picture {place.picture}, another aspect ratio: "
            "the mask is stretched; to keep its shape, put Fit Mask (IPAdapter) before"
        )
    return mask, place.groups


def by_video(masks: Tensor, frames: int, batch: int) -> Tensor:
    """[masks, h, w] -> [1 or batch, frames, h, w]: one mask for all, frames for all, or each its own.

    A short list repeats its last mask, a long one is cut, and both are said.
    """
    wanted = frames if len(masks) <= frames else frames * batch
    if len(masks) not in (1, wanted):
        rest = "the last one is repeated" if len(masks) < wanted else "the last ones are not used"
        warn(f"{len(masks)} masks for {wanted} {'frames' if frames > 1 else 'pictures'}: {rest}")
    return per_latent(masks, wanted).unflatten(0, (-1, frames))


def beside_sound(noise_mask: Tensor, latent: dict[str, Any]) -> Any:
    """The noise mask [latents, 1, (frames,) H, W], joined with that of the sound in a latent of video
    and sound."""
    if not latent["samples"].is_nested:
        return noise_mask
    sound = latent["samples"].unbind()[1:]
    before = latent.get("noise_mask")
    masks = before.unbind()[1:] if before is not None and before.is_nested else ()
    return NestedTensor([noise_mask, *(masks or [torch.ones_like(s) for s in sound])])


NODES = [MaskToLatentSpace]
