"""Fitting a mask to the grid of an attention layer, exactly.

A cell's value is the mean of the mask pixels that it covers, a pixel on its border counted by the
covered share. So a soft edge keeps its shape at 1/64 of the size, white stays 1 and black stays 0
to the bit. Along an axis where the mask is smaller than the grid it is interpolated linearly.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


def to_grid(mask: Tensor, height: int, width: int) -> Tensor:
    """[..., mask height, mask width] -> float32 [..., height, width], on the CPU."""
    mask = mask.to(device="cpu", dtype=torch.float32)
    rows, row_sum = _axis(mask.shape[-2], height)
    columns, column_sum = _axis(mask.shape[-1], width)
    # The weights are whole numbers with one sum, so white times them is that sum exactly.
    return (rows @ mask / row_sum) @ columns.T / column_sum


@lru_cache(maxsize=64)
def _axis(pixels: int, cells: int) -> tuple[Tensor, int]:
    """Whole-number weights [cells, pixels] of each pixel in each cell, and their sum per cell."""
    cell = torch.arange(cells).unsqueeze(1)
    pixel = torch.arange(pixels)
    if pixels >= cells:
        # Measured in 1/cells of a pixel: a cell is `pixels` long, a pixel `cells`.
        start = torch.maximum(cell * pixels, pixel * cells)
        end = torch.minimum((cell + 1) * pixels, (pixel + 1) * cells)
        return (end - start).clamp(min=0).float(), pixels
    # Linear interpolation between pixel centres, in 1/(2 * cells) of a pixel.
    centre = ((2 * cell + 1) * pixels - cells).clamp(0, (pixels - 1) * 2 * cells)
    return (2 * cells - (centre - pixel * 2 * cells).abs()).clamp(min=0).float(), 2 * cells


def pyramid(height: int, width: int) -> list[tuple[int, int]]:
    """The grids of a UNet's levels: each halves the one before, rounding up."""
    grids = [(height, width)]
    while grids[-1] != (1, 1):
        height, width = (height + 1) // 2, (width + 1) // 2
        grids.append((height, width))
    return grids
