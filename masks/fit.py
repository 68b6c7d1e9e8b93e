"""A mask brought to the size of a picture."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .grid import to_grid
from .options import Option
from .shapes import as_batch


def fit(mask: Tensor, width: int, height: int, mode: str, outside: float = 0.0) -> Tensor:
    """[masks, H, W] -> float32 [masks, height, width], on the CPU.

    Resized as to_grid does: a grid of whole pixels finds in a smaller mask what it would find in
    the mask itself. A mask of that size stays as it is. ``outside`` fills what the mask does not
    reach, in the mode contain.
    """
    return MODES[mode].value(as_batch(mask), height, width, outside).clamp(0, 1).contiguous()


def stretch(mask: Tensor, height: int, width: int, outside: float) -> Tensor:
    """[masks, H, W] -> [masks, height, width], squeezed to fit."""
    return to_grid(mask, height, width)


def cover(mask: Tensor, height: int, width: int, outside: float) -> Tensor:
    """[masks, H, W] -> [masks, height, width], all of it covered; what sticks out is cut off on both
    sides alike."""
    old_height, old_width = mask.shape[-2:]
    scale = max(height / old_height, width / old_width)
    # What will be cut off is not enlarged first, but for the pixel that the last one blends with.
    down = _spare(old_height, height / scale)
    right = _spare(old_width, width / scale)
    mask = mask[:, down : old_height - down, right : old_width - right]
    scaled = to_grid(mask, *(max(round(side * scale), 1) for side in mask.shape[-2:]))
    down, right = (scaled.shape[-2] - height) // 2, (scaled.shape[-1] - width) // 2
    return scaled[:, down : down + height, right : right + width]


def _spare(size: int, seen: float) -> int:
    """Whole pixels on each side that have no part in the middle ones which are seen."""
    return max(int((size - seen) / 2) - 1, 0)


def contain(mask: Tensor, height: int, width: int, outside: float) -> Tensor:
    """[masks, H, W] -> [masks, height, width], all of the mask in the middle, the rest filled."""
    scale = min(height / mask.shape[-2], width / mask.shape[-1])
    scaled = to_grid(mask, *(max(round(side * scale), 1) for side in mask.shape[-2:]))
    result = torch.full((len(mask), height, width), float(outside))
    down, right = (height - scaled.shape[-2]) // 2, (width - scaled.shape[-1]) // 2
    result[:, down : down + scaled.shape[-2], right : right + scaled.shape[-1]] = scaled
    return result


MODES: dict[str, Option[Callable[[Tensor, int, int, float], Tensor]]] = {
    "stretch": Option(
        stretch, "squeezed to fit, for a mask that was made for this picture in another size"
    ),
    "cover": Option(
        cover,
        "keeps its proportions and fills the canvas; two sides are cropped, for a picture that is "
        "a center crop",
    ),
    "contain": Option(
        contain,
        "keeps its proportions and all of it; outside fills the rest, for a padded picture",
    ),
}
