"""A mask in pixels and frames, brought to the cells and frames of a latent.

A latent cell covers a block of pixels; a latent frame of a video covers one frame or several, as
its VAE packs them. Here each of them gets one value of the mask pixels that it covers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from einops import repeat
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d

from .grid import to_grid
from .options import Option

Frames = Callable[[int], int]
Group = tuple[int, int]


def one_each(latents: int) -> int:
    return latents


def in_clips(clip: int, ratio: int) -> Frames:
    """How many frames the first n latent frames hold, where each clip of frames is packed alone.

    A clip's first latent frame takes what the others, of ``ratio`` frames each, leave over.
    """
    latents = math.ceil(clip / ratio)
    missing = latents * ratio - clip
    return lambda n: n // latents * clip + max(0, n % latents * ratio - missing)


def frame_groups(frames: Frames, latents: int) -> list[Group]:
    """The first frame, and the one after the last, of each latent frame."""
    ends = [frames(n) for n in range(1, latents + 1)]
    return list(zip([0, *ends], ends, strict=False))


def cut_rim(mask: Tensor, height: int, width: int, ratio: int) -> Tensor:
    """[..., H, W] without the pixels that a VAE cut off, where H and W are no multiples of ratio.

    A mask that is not the whole picture of this latent (height, width) stays as it is.
    """
    rows, columns = mask.shape[-2] - height * ratio, mask.shape[-1] - width * ratio
    if not (0 <= rows < ratio and 0 <= columns < ratio):
        return mask
    top, left = rows // 2, columns // 2
    return mask[..., top : top + height * ratio, left : left + width * ratio]


def reduce_space(mask: Tensor, height: int, width: int, reduce: str) -> Tensor:
    """[masks, H, W] -> [masks, height, width], on the CPU."""
    return SPATIAL[reduce].value(mask.cpu(), height, width)


def reduce_time(frames: Tensor, groups: Sequence[Group], reduce: str) -> Tensor:
    """[videos, frames, h, w] -> [videos, latent frames, h, w]."""
    return torch.stack([TEMPORAL[reduce].value(frames[:, a:b]) for a, b in groups], dim=1)


def in_pixels(cells: Tensor, groups: Sequence[Group], ratio: int) -> Tensor:
    """[videos, latent frames, h, w] -> [videos * frames, h * ratio, w * ratio], in blocks."""
    frames = cells.repeat_interleave(torch.tensor([b - a for a, b in groups]), dim=1)
    blocks = "videos frames h w -> (videos frames) (h down) (w right)"
    return repeat(frames, blocks, down=ratio, right=ratio)


def highest(mask: Tensor, height: int, width: int) -> Tensor:
    """[masks, H, W] -> [masks, height, width]: of all pixels that a cell touches the highest."""
    return adaptive_max_pool2d(mask, (height, width))


def lowest(mask: Tensor, height: int, width: int) -> Tensor:
    """[masks, H, W] -> [masks, height, width]: of all pixels that a cell touches the lowest."""
    return -highest(-mask, height, width)


def top_left(mask: Tensor, height: int, width: int) -> Tensor:
    """[masks, H, W] -> [masks, height, width]: each cell's first pixel."""
    rows, columns = starts(mask.shape[-2], height), starts(mask.shape[-1], width)
    return mask[..., rows[:, None], columns]


def bottom_right(mask: Tensor, height: int, width: int) -> Tensor:
    """[masks, H, W] -> [masks, height, width]: each cell's last pixel."""
    return top_left(mask.flip(-2, -1), height, width).flip(-2, -1)


def starts(pixels: int, cells: int) -> Tensor:
    """The first pixel that each cell touches: [cells]."""
    return torch.arange(cells) * pixels // cells


SPATIAL: dict[str, Option[Callable[[Tensor, int, int], Tensor]]] = {
    "max": Option(highest, "the highest: any white pixel makes it white, so that thin shapes stay"),
    "min": Option(lowest, "the lowest: white only if all pixels are, so that nothing else changes"),
    "mean": Option(to_grid, "the mean, with border pixels in part: keeps soft edges"),
    "first": Option(top_left, "its top left pixel, for masks that were drawn in whole cells"),
    "last": Option(
        bottom_right, "its bottom right pixel, for masks that were drawn in whole cells"
    ),
}
TEMPORAL: dict[str, Option[Callable[[Tensor], Tensor]]] = {
    "max": Option(lambda frames: frames.amax(dim=1), "the places where any of its frames is white"),
    "min": Option(
        lambda frames: frames.amin(dim=1), "only the places where all of its frames are white"
    ),
    "mean": Option(lambda frames: frames.mean(dim=1), "the mean of its frames"),
    "first": Option(lambda frames: frames[:, 0], "the first frame of the group"),
    "last": Option(lambda frames: frames[:, -1], "the last frame of the group"),
}
