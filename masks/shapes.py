"""Masks drawn and combined: float [masks, H, W], 1 inside, 0 outside; [H, W] is one mask."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .options import Option

Box = tuple[float, float, float, float]  # left, top, width, height, as fractions of the canvas
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


def solid(value: float, width: int, height: int, box: Box = WHOLE) -> Tensor:
    """One mask that has this value in the box, and 0 outside: float32 [1, height, width].

    A pixel that the box covers in part gets that part of the value.
    """
    left, top, box_width, box_height = box
    rows, columns = covered(int(height), top, box_height), covered(int(width), left, box_width)
    return float(value) * (rows[:, None] * columns)[None]


def covered(size: int, start: float, length: float) -> Tensor:
    """How much of each pixel lies between two borders, given in fractions of the size: [size]."""
    first, last = start * size, (start + length) * size
    pixel = torch.arange(size, dtype=torch.float32)
    return ((last - pixel).clamp(max=1) - (first - pixel).clamp(min=0)).clamp(min=0)


def feather(
    mask: Tensor,
    left: int = 0,
    top: int = 0,
    right: int = 0,
    bottom: int = 0,
    curve: str = "linear",
) -> Tensor:
    """Fade mask [masks, H, W] towards the sides of its canvas, over this many pixels per side.

    Where two fades meet the lower one holds, so a corner is no darker than its nearest side.
    """
    height, width = mask.shape[-2:]
    columns = torch.minimum(rise(width, left), rise(width, right).flip(0))
    rows = torch.minimum(rise(height, top), rise(height, bottom).flip(0))
    fade = CURVES[curve].value(torch.minimum(rows[:, None], columns))
    return as_batch(mask) * fade.to(mask.device)


def rise(size: int, length: int) -> Tensor:
    """1/length, 2/length, ... up to 1, then 1 to the end: [size]. Length 0 is 1 everywhere."""
    length = max(min(length, size), 1)
    return (torch.arange(1, size + 1) / length).clamp(max=1)


def composite(destination: Tensor, source: Tensor, x: int, y: int, operation: str) -> Tensor:
    """Combine source [masks, h, w] into destination [masks, H, W] at column x and row y.

    What falls outside the destination is cut off. The shorter batch repeats its last mask.
    """
    masks = max(len(as_batch(destination)), len(as_batch(source)))
    result = repeat_last(destination, masks)
    source = repeat_last(source, masks).to(result)
    top, bottom = (clip(edge, result.shape[1]) for edge in (y, y + source.shape[1]))
    left, right = (clip(edge, result.shape[2]) for edge in (x, x + source.shape[2]))
    over = source[:, top - y : bottom - y, left - x : right - x]
    under = result[:, top:bottom, left:right]
    result[:, top:bottom, left:right] = OPERATIONS[operation].value(under, over)
    return result.clamp(0, 1)


def as_batch(mask: Tensor) -> Tensor:
    """[H, W] -> [1, H, W]; [masks, H, W] stays."""
    return mask[None] if mask.ndim == 2 else mask


def repeat_last(mask: Tensor, masks: int) -> Tensor:
    """A copy with this many masks, the last one repeated: [masks, H, W]."""
    mask = as_batch(mask)
    return mask[torch.arange(masks).clamp(max=len(mask) - 1)]


def clip(edge: int, size: int) -> int:
    return min(max(edge, 0), size)


def both(under: Tensor, over: Tensor) -> Tensor:
    """White where two masks [masks, H, W], rounded, both are."""
    return torch.logical_and(under.round(), over.round())


def either(under: Tensor, over: Tensor) -> Tensor:
    """White where one of two masks [masks, H, W], rounded, is, or both."""
    return torch.logical_or(under.round(), over.round())


def only_one(under: Tensor, over: Tensor) -> Tensor:
    """White where one of two masks [masks, H, W], rounded, is and the other is not."""
    return torch.logical_xor(under.round(), over.round())


OPERATIONS: dict[str, Option[Callable[[Tensor, Tensor], Tensor]]] = {
    "multiply": Option(torch.mul, "destination times source: what both share"),
    "add": Option(torch.add, "the sum, at most 1: joins regions"),
    "subtract": Option(torch.sub, "destination less source, at least 0: cuts the source out"),
    "and": Option(both, "white where both are more than half white, else black"),
    "or": Option(either, "white where either is more than half white, else black"),
    "xor": Option(only_one, "white where just one of them is more than half white, else black"),
    "max": Option(torch.maximum, "the higher of the two: joins soft masks and keeps their fades"),
    "min": Option(torch.minimum, "the lower of the two: what soft masks share, with their fades"),
}


def linear(part: Tensor) -> Tensor:
    """A straight line from 0 to 1, [...] -> [...]."""
    return part


def cosine(part: Tensor) -> Tensor:
    """Half a wave from 0 to 1, level at both ends, [...] -> [...]."""
    return (1 - torch.cos(part * math.pi)) / 2


# How a fade goes from 0 to 1.
CURVES: dict[str, Option[Callable[[Tensor], Tensor]]] = {
    "linear": Option(linear, "straight"),
    "cosine": Option(cosine, "begins and ends gently, which hides a fade better"),
}
