"""Pictures in tiles that lie side by side, each with the mask of where it lies, as version 1 of
cubiq/ComfyUI_IPAdapter_plus (90d3451) cuts them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ....ipadapter.errors import IPAdapterError
from ....ipadapter.preprocess import rgb, without_alpha
from .tiles import Tile

SIDE = 224  # of a tile
MOST = 256  # tiles
MASK_SIDE = 1024  # more pixels than attention has cells


class Span(NamedTuple):
    start: int
    end: int


def numbered(image: Tensor, short_side_tiles: int, weight: float) -> list[Tile]:
    """One picture [1, H, W, channels], its shorter side that many tiles of SIDE long.

    Where there are several rows and columns, their masks have ``weight``, and the tiles of a coarse
    cut, one tile high or wide, come first.
    """
    check_count(image, short_side_tiles)
    whole = scaled(rgb(without_alpha(image)).cpu(), short_side_tiles)
    tiles = _cut(whole, weight)
    if min(len(spans(side)) for side in whole.shape[-2:]) == 1:
        return tiles
    coarse = _cut(scaled(whole, 1), weight)
    return [_like(tile, tiles[0]) for tile in coarse] + tiles


def _like(tile: Tile, other: Tile) -> Tile:
    picture = _fitted(tile.picture.movedim(-1, 1), *other.picture.shape[1:3]).movedim(1, -1)
    return Tile(picture, _fitted(tile.mask[None], *other.mask.shape[1:])[0])


def check_count(image: Tensor, short_side_tiles: int) -> None:
    """IPAdapterError where a picture [1, H, W, channels] would be cut into too many tiles."""
    height, width = image.shape[1:3]
    count = math.prod(len(spans(side)) for side in scaled_size(height, width, short_side_tiles))
    if count > MOST:
        raise IPAdapterError(
            f"image is {width} x {height} pixels, which is {count} tiles with short_side_tiles "
            f"{short_side_tiles}; at most {MOST} are made: choose fewer, or crop it first"
        )


def scaled_size(height: int, width: int, short_side_tiles: int) -> tuple[int, int]:
    size, short = SIDE * short_side_tiles, min(height, width)
    return size * height // short, size * width // short


def scaled(pixels: Tensor, short_side_tiles: int) -> Tensor:
    """[1, 3, H, W] with the shorter side that many tiles long."""
    height, width = pixels.shape[-2:]
    return _fitted(pixels, *scaled_size(height, width, short_side_tiles))


def _fitted(pixels: Tensor, height: int, width: int) -> Tensor:
    """[images, channels, ...] -> [images, channels, height, width]"""
    return F.interpolate(pixels, size=(height, width), mode="bicubic").clamp(0, 1)


def spans(size: int) -> list[Span]:
    """What each tile covers of a side: as many as fit. Half of what is left over comes before the
    first, and each is wider by as much; if it is a quarter of a tile, one more lies at the end."""
    count, rest = divmod(size, SIDE)
    if 4 * rest >= SIDE:
        count, rest = count + 1, 0
    first = rest // 2
    found = [SIDE * i + first for i in range(count)]
    found = [Span(start, start + SIDE + first) for start in found]
    return [Span(size - SIDE, size) if s.end > size else s for s in found]


def _cut(pixels: Tensor, weight: float) -> list[Tile]:
    height, width = pixels.shape[-2:]
    rows, columns = spans(height), spans(width)
    weight = weight if min(len(rows), len(columns)) > 1 else 1.0
    picture = pixels.movedim(1, -1)
    return [
        Tile(
            picture[:, row.start : row.end, column.start : column.end],
            weight * torch.outer(covered(height, row), covered(width, column))[None],
        )
        for row in rows
        for column in columns
    ]


def covered(size: int, span: Span) -> Tensor:
    """Which part of each cell a span covers: 1 a pixel, unless these are more than MASK_SIDE."""
    cells = min(size, MASK_SIDE)
    cell = torch.arange(cells)
    end = ((cell + 1) * size).clamp(max=span.end * cells)  # in 1/cells of a pixel
    return (end - (cell * size).clamp(min=span.start * cells)).clamp(min=0) / size
