"""Pictures made square before the encoder sees them, so that a user decides what it sees."""

from __future__ import annotations

import math
from collections.abc import Callable

from einops import rearrange, repeat
from torch import Tensor

from .errors import IPAdapterError, pick
from .options import Option
from .preprocess import CENTER, CLIP_MEAN, alpha, resized, rgb, shorter_side, square

# What a border is, by the number of channels: nothing to CLIP, or transparent.
BORDERS = {3: CLIP_MEAN, 1: (1.0,)}

# How far down and to the right the square lies, of what is to be cut off.
POSITIONS = {
    "center": Option(CENTER, "the middle of the picture"),
    "top": Option((0.0, 0.5), "the top of a high picture, the middle of a wide one"),
    "bottom": Option((1.0, 0.5), "the bottom of a high picture, the middle of a wide one"),
    "left": Option((0.5, 0.0), "the left of a wide picture, the middle of a high one"),
    "right": Option((0.5, 1.0), "the right of a wide picture, the middle of a high one"),
}
MOST_TILES = 64


def fit(image: Tensor, mode: str, position: str, size: int) -> Tensor:
    """[images, H, W, channels] -> squares [images or tiles, size, size, 3]

    An encoder of that size sees them unchanged. ``position`` is for the mode crop only.
    """
    squares = pick(MODES, mode, "mode").value(rgb(image), size, position)
    return rearrange(squares, "images c h w -> images h w c")


def fit_alpha(image: Tensor, mode: str, position: str, size: int) -> Tensor:
    """What of these squares is picture, as masks [images or tiles, size, size]: black where it is
    transparent, and at the borders that pad adds."""
    transparent = 1 - alpha(image)
    return 1 - pick(MODES, mode, "mode").value(transparent, size, position)[:, 0]


def crop(pixels: Tensor, size: int, position: str) -> Tensor:
    """The largest square of pixels [images, c, H, W], as [images, c, size, size]."""
    return square(pixels, size, pick(POSITIONS, position, "crop_position").value)


def pad(pixels: Tensor, size: int, position: str) -> Tensor:
    """The whole of pixels [images, c, H, W], with borders that mean nothing to CLIP."""
    longer = max(pixels.shape[-2:])
    height, width = (max(1, size * side // longer) for side in pixels.shape[-2:])
    border = pixels.new_tensor(BORDERS[pixels.shape[1]])
    padded = repeat(border, "c -> images c h w", images=len(pixels), h=size, w=size).clone()
    down, right = (size - height) // 2, (size - width) // 2
    padded[..., down : down + height, right : right + width] = resized(pixels, height, width)
    return padded


def stretch(pixels: Tensor, size: int, position: str) -> Tensor:
    """The whole of pixels [images, c, H, W], squeezed into a square."""
    return resized(pixels, size, size)


def tiles(pixels: Tensor, size: int, position: str) -> Tensor:
    """Overlapping squares of pixels [images, c, H, W], as high or as wide as the picture, evenly spread
    over its longer side: as few as leave nothing out. All of one picture, then all of the next."""
    height, width = pixels.shape[-2:]
    count = math.ceil(max(height, width) / min(height, width))
    if count > MOST_TILES:
        raise IPAdapterError(
            f"image is {width} x {height} pixels, which is {count} tiles; at most {MOST_TILES} are "
            "made: crop it first, or choose another mode"
        )
    small = shorter_side(pixels, size)
    along = -2 if height > width else -1
    spare = small.shape[along] - size
    count = 1 + math.ceil(spare / size)
    starts = [round(spare * i / max(count - 1, 1)) for i in range(count)]
    squares = [small.narrow(along, start, size) for start in starts]
    return rearrange(squares, "tiles images c h w -> (images tiles) c h w")


# (pixels [images, c, H, W], size, position) -> [images or tiles, c, size, size]
MODES: dict[str, Option[Callable[[Tensor, int, str], Tensor]]] = {
    "crop": Option(
        crop, "the largest square, at crop_position, for a subject in one part of the picture"
    ),
    "pad": Option(
        pad,
        "the whole picture, with borders of the gray that says nothing to CLIP; the subject gets "
        "smaller",
    ),
    "stretch": Option(
        stretch,
        "the whole picture, squeezed into a square, for style and colors or a nearly square one",
    ),
    "tiles": Option(
        tiles,
        "as many overlapping squares as show all of the picture, which act together as one "
        "reference, for wide or high pictures in detail",
    ),
}
