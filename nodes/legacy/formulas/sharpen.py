"""Sharpening that spares what already has contrast: AMD FidelityFX CAS, without its scaling."""

from __future__ import annotations

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor


def sharpened(pixels: Tensor, amount: float) -> Tensor:
    """[images, channels, H, W], 0 to 1; ``amount`` 0 is its mildest, not none.

    Every channel by itself. Outside is black, which leaves the outermost pixels as they are.
    """
    height, width = pixels.shape[-2:]
    padded = F.pad(pixels, (1, 1, 1, 1))
    around = [
        [padded[..., y : y + height, x : x + width] for x in range(3)] for y in range(3)
    ]  # around[1][1] is the pixel itself
    corners = [around[y][x] for y in (0, 2) for x in (0, 2)]
    beside = [around[0][1], around[1][0], around[1][2], around[2][1]]
    cross = [*beside, pixels]
    low = reduce(torch.minimum, cross).clamp(min=0) + reduce(torch.minimum, corners).clamp(min=0)
    high = reduce(torch.maximum, cross).clamp(max=1) + reduce(torch.maximum, corners).clamp(max=1)
    room = (torch.minimum(low, 2 - high) / high).sqrt()  # 0: black or white is near
    weight = -room * (1 / 8 + amount * (1 / 5 - 1 / 8))
    sharp = (sum(beside) * weight + pixels) / (1 + 4 * weight)
    return sharp.nan_to_num(0.0).clamp(0, 1)  # 0 / 0 where all is black
