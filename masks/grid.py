"""Fitting a mask to the grid of an attention layer, exactly.

A cell's value is the mean of the mask pixels that it covers, a pixel on its border counted by the
covered share. So a soft edge keeps its shape at 1/64 of the size, white stays 1 and black stays 0
to the bit. Along an axis where the mask is smaller than the grid it is interpolated linearly.
"""

from __future__ import annotations

import torch
from torch import Tensor

ALL = slice(None)


def to_grid(
    mask: Tensor, height: int, width: int, *, rows: slice = ALL, columns: slice = ALL
) -> Tensor:
    """[..., mask height, mask width] -> float32 [..., height, width], on the CPU; or only these
    rows and columns of it."""
    mask = mask.to(device="cpu", dtype=torch.float32)
    masks = mask.reshape(-1, *mask.shape[-2:])
    fitted = [_along(_along(each, height, rows).T.contiguous(), width, columns).T for each in masks]
    return torch.stack(fitted).view(*mask.shape[:-2], *fitted[0].shape)


def _along(pixels: Tensor, cells: int, part: slice) -> Tensor:
    """[pixels, n] -> this part of [cells, n]. Weights are whole numbers with one sum, so that what
    is white stays 1: in 1/cells of a pixel where pixels are covered, in 1/(2 * cells) between two.
    """
    size = len(pixels)
    if size == cells:
        return pixels[part]
    if size < cells:  # linear interpolation between pixel centers
        center = (2 * torch.arange(cells)[part] + 1) * size - cells
        center = center.clamp(0, (size - 1) * 2 * cells)
        before = center // (2 * cells)
        share = (center - before * 2 * cells)[:, None]
        after = (before + 1).clamp(max=size - 1)
        return (pixels[before] * (2 * cells - share) + pixels[after] * share) / (2 * cells)
    # A cell is `size` long, a pixel `cells`: it lies in one cell, or ends in the next.
    pixel = torch.arange(size)
    cell = pixel * cells // size
    inside = (torch.minimum((cell + 1) * size, (pixel + 1) * cells) - pixel * cells)[:, None]
    sums = pixels.new_zeros(cells, pixels.shape[1]).index_add_(0, cell, pixels * inside)
    if size % cells:
        sums.index_add_(0, (cell + 1).clamp(max=cells - 1), pixels * (cells - inside))
    return (sums / size)[part]


def pyramid(height: int, width: int) -> list[tuple[int, int]]:
    """The grids of a UNet's levels: each halves the one before, rounding up."""
    grids = [(height, width)]
    while grids[-1] != (1, 1):
        height, width = (height + 1) // 2, (width + 1) // 2
        grids.append((height, width))
    return grids
