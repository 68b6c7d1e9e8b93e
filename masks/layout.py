"""Which mask of a batch belongs to which latent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from .grid import to_grid


class Area(NamedTuple):
    """A rectangle: of the canvas, in latent cells, where nothing else is said."""

    y: int
    x: int
    height: int
    width: int


def per_latent(batch: Tensor, latents: int, window: Sequence[int] | None = None) -> Tensor:
    """[n, ...] -> [latents, ...]: one for all, or item i to latent i.

    A short batch repeats its last item, a long one is cut. ``window`` names the frames that the
    latents are, where a long clip is sampled in windows.
    """
    wanted = list(window) if window is not None else list(range(latents))
    return batch[[min(i, len(batch) - 1) for i in wanted]]


def crop_to_grid(mask: Tensor, canvas: tuple[int, int], area: Area | None, grid: tuple[int, int]):
    """[masks, height, width] -> [masks, *grid], of the whole canvas or of an area of it."""
    if area is not None:
        mask = to_grid(mask, *canvas)
        mask = mask[..., area.y : area.y + area.height, area.x : area.x + area.width]
    return to_grid(mask, *grid)


def crop(mask: Tensor, picture: tuple[int, int] | None, area: Area) -> Tensor:
    """[masks, height, width] -> [masks, *area's size]: a mask of a picture of that size (None: of
    the mask's own), within an area given in pixels. What lies outside of the picture is black. A
    mask of one pixel is of a picture of any size."""
    if picture is None and mask.shape[-2:] == (1, 1):
        return mask.expand(-1, area.height, area.width).clone()
    height, width = picture or mask.shape[-2:]
    cropped = mask.new_zeros(len(mask), area.height, area.width)
    rows = slice(max(area.y, 0), max(min(area.y + area.height, height), 0))
    columns = slice(max(area.x, 0), max(min(area.x + area.width, width), 0))
    part = to_grid(mask, height, width, rows=rows, columns=columns)
    y, x = rows.start - area.y, columns.start - area.x
    cropped[:, y : y + part.shape[1], x : x + part.shape[2]] = part
    return cropped


def same_shape(mask: Sequence[int], canvas: Sequence[int]) -> bool:
    """Whether the two aspect ratios agree to within one cell of the canvas; one pixel fits any."""
    if tuple(mask) == (1, 1):
        return True
    by_width = abs(mask[0] * canvas[1] / mask[1] - canvas[0])
    by_height = abs(mask[1] * canvas[0] / mask[0] - canvas[1])
    return min(by_width, by_height) <= 1.0
