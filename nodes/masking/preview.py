"""Looking at masks: as they are, over a picture, and as attention sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

from ...ipadapter.errors import IPAdapterError, pick
from ...ipadapter.options import Option
from ...masks.layout import per_latent, same_shape
from ...masks.views import attention_levels, gray, overlay, statistics
from ..shared.checks import check_image, check_mask
from ..shared.inputs import CATEGORY, choice_input
from ..shared.node import Node
from ..shared.notices import show_on_node, warn

CELL = 8  # pixels of a picture per latent cell, along a side

Grid = tuple[int, int]


class PreviewMask(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="IPAdapterPreviewMask",
            display_name="Preview Mask (IPAdapter)",
            category=CATEGORY,
            description="Shows a mask on the node: alone, over a picture, or as the model's layers "
            "see it. Says how much it covers, and hands it on unchanged. Nothing is saved.",
            search_aliases=[
                "show mask",
                "view mask",
                "inspect mask",
                "debug mask",
                "mask overlay",
                "mask statistics",
                "attention resolution",
            ],
            inputs=[
                io.Mask.Input(
                    "mask",
                    tooltip="The mask to look at: white is 1, where a reference acts in full; "
                    "black is 0, where it does not. Every mask of a batch is shown.",
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="A picture to see the mask on: tinted pink where the mask is white, "
                    "untouched where it is black. The mask is stretched to its size.",
                ),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="For the view attention: the latent that will be sampled. Its size "
                    "decides the layers' grids; without it, the picture's size, else the mask's.",
                ),
                choice_input(
                    "view", VIEWS, "How the mask is drawn.", default="mask", optional=True
                ),
            ],
            outputs=[io.Mask.Output(display_name="mask", tooltip="The same mask, unchanged.")],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls,
        mask: Tensor,
        image: Tensor | None = None,
        latent: dict[str, Any] | None = None,
        view: str = "mask",
    ) -> io.NodeOutput:
        draw = pick(VIEWS, view, "view").value
        masks = check_mask(mask, "mask").cpu()
        if image is not None:
            check_image(image, "image")
        grid = latent_grid(masks, image, latent)
        pictures = [draw(*pair, grid) for pair in pairs(masks, image)]
        notice, lines = stretched(masks, image, latent, grid), statistics(masks)
        show_on_node("\n".join(lines))
        text = "\n".join([*notice, *lines])
        return io.NodeOutput(mask, ui={**ui.PreviewImage(pictures).as_dict(), "text": (text,)})


def latent_grid(masks: Tensor, image: Tensor | None, latent: dict[str, Any] | None) -> Grid:
    """(rows, columns) of the latent that masks [masks, H, W] are meant for."""
    if latent is not None:
        samples = latent.get("samples")
        if samples is None or samples.ndim < 4 or not samples.numel():
            raise IPAdapterError("latent has no cells: connect one of a picture or a video")
        return tuple(samples.shape[-2:])
    height, width = (masks if image is None else image).shape[1:3]
    return max(height // CELL, 1), max(width // CELL, 1)


def pairs(masks: Tensor, image: Tensor | None) -> list[tuple[Tensor, Tensor | None]]:
    """Each mask [H, W] and its picture [H, W, channels], or none; the shorter batch repeats its last."""
    if image is None:
        return [(mask, None) for mask in masks]
    count = max(len(masks), len(image))
    return list(zip(per_latent(masks, count), per_latent(image, count), strict=True))


def stretched(
    masks: Tensor, image: Tensor | None, latent: dict[str, Any] | None, grid: Grid
) -> list[str]:
    """The one line, also logged, where the aspect ratio of masks [masks, H, W] is not that of what
    they are for."""
    if (image is None and latent is None) or same_shape(masks.shape[-2:], grid):
        return []
    height, width = (CELL * side for side in grid)
    if latent is None and image is not None:
        height, width = image.shape[1:3]
    size = f"{masks.shape[-1]} x {masks.shape[-2]}"
    line = f"mask is {size}, the picture {width} x {height}: the mask is stretched"
    warn(line)
    return [f"{line}."]


def as_mask(mask: Tensor, image: Tensor | None, _grid: Grid) -> Tensor:
    """A mask [H, W] over its picture, or alone, [H, W, 3]."""
    return gray(mask) if image is None else overlay(image, mask)


def as_attention(mask: Tensor, image: Tensor | None, grid: Grid) -> Tensor:
    """A mask [H, W] as each level of a UNet sees it, side by side, [height, width, 3]."""
    return attention_levels(mask, grid, image)


VIEWS: dict[str, Option[Callable[[Tensor, Tensor | None, Grid], Tensor]]] = {
    "mask": Option(as_mask, "pixel by pixel"),
    "attention": Option(
        as_attention,
        "reduced to the grid of each level of the model, as a reference uses it; what is thinner "
        "than a cell turns gray",
    ),
}

NODES = [PreviewMask]
