"""Which mask of a batch belongs to which latent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from .grid import to_grid


class Area(NamedTuple):
    """A rectangle of the canvas, in latent cells."""

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


def same_shape(mask: Sequence[int], canvas: Sequence[int]) -> bool:
    """Whether the two aspect ratios agree to within one cell of the canvas."""
    by_width = abs(mask[0] * canvas[1] / mask[1] - canvas[0])
    by_height = abs(mask[1] * canvas[0] / mask[0] - canvas[1])
    return min(by_width, by_height) <= 1.0
