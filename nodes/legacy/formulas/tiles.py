"""Pictures in overlapping tiles, each with the mask of where it lies."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ....ipadapter.pillow import pillow_resized
from ....ipadapter.preprocess import resized, rgb, without_alpha
from .sharpen import sharpened

SIDE = 256  # of a tile
MOST = 4  # tiles in a row


class Tile(NamedTuple):
    picture: Tensor  # [images, height, width, 3]
    mask: Tensor  # [masks, height, width] of all tiles together


def overlapping(image: Tensor, mask: Tensor | None, sharpening: float) -> list[Tile]:
    """Pictures [images, H, W, channels] in tiles of SIDE, row by row, each with its part of the
    mask [masks, H, W]: four of what is nearly square, else as many as its longer side takes."""
    pixels = rgb(without_alpha(image)).cpu()
    height, width = pixels.shape[-2:]
    white = torch.ones(1, height, width)
    where = resized((white if mask is None else mask.cpu())[:, None], height, width)
    short = min(height, width)
    if 0.75 < height / width < 1.33:
        pixels, where = middle(pixels, short), middle(where, short)
        size = (2 * SIDE, 2 * SIDE)
    else:
        # Of what will be cut off, no more is enlarged than it takes to stay where it is.
        pixels, where = middle(pixels, 2 * MOST * short), middle(where, 2 * MOST * short)
        height, width = pixels.shape[-2:]
        size = (SIDE * height // short, SIDE * width // short)
    pixels = middle(pillow_resized(pixels, *size, "LANCZOS"), MOST * SIDE)
    where = middle(resized(where, *size), MOST * SIDE)[:, 0]
    if sharpening > 0:
        pixels = sharpened(pixels, sharpening)
    picture = pixels.movedim(1, -1)
    tiles: list[Tile] = []
    for top in starts(picture.shape[1]):
        for left in starts(picture.shape[2]):
            part = (slice(None), slice(top, top + SIDE), slice(left, left + SIDE))
            inside = torch.zeros_like(where)
            inside[part] = where[part]
            tiles.append(Tile(picture[part], inside))
    return tiles


def middle(pixels: Tensor, most: int) -> Tensor:
    """[..., H, W] without what is further out along a side that is longer than ``most``."""
    for along in (-2, -1):
        size = pixels.shape[along]
        kept = min(size, most)
        pixels = pixels.narrow(along, (size - kept) // 2, kept)
    return pixels


def starts(size: int) -> list[int]:
    """Where as few tiles as cover that many pixels begin, evenly spread."""
    count = math.ceil(size / SIDE)
    return [i * (size - SIDE) // max(count - 1, 1) for i in range(count)]
