"""A mask's own edge: fading along it, growing and shrinking.

The sides of the canvas are no edge: a shape that touches one is taken to go on beyond it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import scipy.ndimage  # pyright: ignore[reportMissingTypeStubs]
import torch
from torch import Tensor

from .options import Option
from .shapes import CURVES, as_batch

EDGE = 0.5  # what is at least this is inside


def feather_shape(mask: Tensor, pixels: int, direction: str, curve: str = "linear") -> Tensor:
    """Fade mask [masks, H, W] along its edge, over this many pixels: float32 [masks, H, W].

    The edge is the border between pixels of 0.5 or more and pixels below; a pixel's place is its
    center, so the pixels at the edge are half a pixel away from it. A fade runs between the grays
    on either side of the edge. inward fades what is inside and raises no pixel, outward adds a
    fade around it and lowers none, centered does half of each. A mask without an edge stays as it
    is. A rim of one pixel that lies between the two sides, as drawing programs smooth an edge,
    becomes part of the fade.
    """
    if pixels <= 0:
        return as_batch(mask).float().clone()
    shift, keep = DIRECTIONS[direction].value

    def fade(mask: Tensor) -> Tensor:
        inside = mask >= EDGE
        if inside.all() or not inside.any():
            return mask
        depth, low, high = _two_sides(mask, inside)
        part = CURVES[curve].value((depth / pixels + shift).clamp(0, 1))
        return keep(mask, torch.lerp(low, high, part), depth)

    masks = as_batch(mask).to("cpu", torch.float32)
    return torch.stack([fade(one) for one in masks]).to(mask.device)


def _two_sides(mask: Tensor, inside: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels from the edge, below 0 outside; gray of the nearest place outside, and inside.

    All [H, W]. A place's gray is the lowest or highest of it and its four neighbors, which a
    smoothed edge does not change.
    """
    to_outside, outside_places = _nearest(~inside)
    to_inside, inside_places = _nearest(inside)
    # Each is 0 on one side, and counts from center to center on the other.
    depth = torch.where(inside, to_outside - 0.5, 0.5 - to_inside)
    low, high = grow(mask, -1).flatten(), grow(mask, 1).flatten()
    return depth, low[outside_places], high[inside_places]


def _nearest(place: Tensor) -> tuple[Tensor, Tensor]:
    """Of each pixel, how far the nearest True of [H, W] is, and its index when flattened."""
    distance, places = cast(
        "tuple[Any, Any]",
        scipy.ndimage.distance_transform_edt((~place).numpy(), return_indices=True),  # pyright: ignore[reportUnknownMemberType]
    )
    rows, columns = torch.as_tensor(places).long()
    return torch.as_tensor(distance).float(), rows * place.shape[1] + columns


# What a direction makes of a fade. Within a pixel of the edge it holds on both sides, so that a
# smoothed rim is not left standing in it.


def _inward(mask: Tensor, faded: Tensor, depth: Tensor) -> Tensor:
    return torch.where(depth > -1, torch.minimum(mask, faded), mask)


def _outward(mask: Tensor, faded: Tensor, depth: Tensor) -> Tensor:
    return torch.where(depth < 1, torch.maximum(mask, faded), mask)


def _centered(mask: Tensor, faded: Tensor, depth: Tensor) -> Tensor:
    beside = torch.where(depth > 0, torch.minimum(mask, faded), torch.maximum(mask, faded))
    return torch.where(depth.abs() < 1, faded, beside)


# Where the fade ends: how much of it lies outside the edge.
DIRECTIONS: dict[str, Option[tuple[float, Callable[[Tensor, Tensor, Tensor], Tensor]]]] = {
    "inward": Option(
        (0.0, _inward),
        "inside the white shape; nothing outside changes, for a region that must keep its border",
    ),
    "outward": Option(
        (1.0, _outward),
        "around the shape; all that was white stays white, for a subject that keeps the reference "
        "in full",
    ),
    "centered": Option(
        (0.5, _centered),
        "half of it inside, half outside: two black and white regions that meet still add up to 1",
    ),
}


def adjust(mask: Tensor, threshold: float = 0.0, pixels: int = 0, invert: bool = False) -> Tensor:
    """Threshold (0 leaves grays), grow, invert, in this order: float32 [masks, H, W]."""
    mask = as_batch(mask).float()
    mask = (mask >= threshold).float() if threshold > 0 else mask
    mask = grow(mask, pixels)
    return 1 - mask if invert else mask


def grow(mask: Tensor, pixels: int) -> Tensor:
    """Grow mask [masks, H, W] by this many pixels on all sides; below 0 shrinks it: float32.

    A pixel takes the highest value, or to shrink the lowest, of those whose centers lie within
    this distance: a soft edge moves and stays as soft as it is, a corner becomes round.
    """
    sign = 1 if pixels >= 0 else -1
    mask = sign * as_batch(mask).float()
    radius, reach = abs(int(pixels)), 0
    result, run = mask.clone(), mask.clone()
    # The disk's rows one by one, from the short ones at its rim to the one through its center.
    for row in range(radius, -1, -1):
        while reach < math.isqrt(radius**2 - row**2):
            reach += 1
            _spread(mask, reach, run, -1)
        _spread(run, row, result, -2)
    return sign * result


def _spread(source: Tensor, distance: int, target: Tensor, axis: int) -> None:
    """Raise target to what source has this far away along an axis, on both sides."""
    length = source.shape[axis] - distance
    if length > 0:
        for start, end in ((0, distance), (distance, 0)):
            part = target.narrow(axis, end, length)
            torch.maximum(part, source.narrow(axis, start, length), out=part)
