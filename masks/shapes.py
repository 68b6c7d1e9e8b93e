"""Masks drawn and combined: float [masks, H, W], 1 inside, 0 outside; [H, W] is one mask."""

from collections.abc import Callable

import torch
from torch import Tensor


def solid(value: float, width: int, height: int) -> Tensor:
    """One mask that has the same value everywhere: float32 [1, height, width]."""
    return torch.full((1, int(height), int(width)), float(value), dtype=torch.float32)


def feather(mask: Tensor, left: int = 0, top: int = 0, right: int = 0, bottom: int = 0) -> Tensor:
    """Fade mask [masks, H, W] towards the sides of its canvas, over this many pixels per side.

    Where two fades meet the lower one holds, so a corner is no darker than its nearest side.
    """
    height, width = mask.shape[-2:]
    columns = torch.minimum(rise(width, left), rise(width, right).flip(0))
    rows = torch.minimum(rise(height, top), rise(height, bottom).flip(0))
    return as_batch(mask) * torch.minimum(rows[:, None], columns).to(mask.device)


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
    result[:, top:bottom, left:right] = OPERATIONS[operation](under, over)
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
    return torch.logical_and(under.round(), over.round())


def either(under: Tensor, over: Tensor) -> Tensor:
    return torch.logical_or(under.round(), over.round())


def only_one(under: Tensor, over: Tensor) -> Tensor:
    return torch.logical_xor(under.round(), over.round())


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "multiply": torch.mul,
    "add": torch.add,
    "subtract": torch.sub,
    "and": both,
    "or": either,
    "xor": only_one,
    "max": torch.maximum,
    "min": torch.minimum,
}
