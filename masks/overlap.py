"""What becomes of masks where they overlap.

A rule sees only masks of regions that can act at the same step: those whose step ranges share more
than an end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .grid import to_grid
from .options import Option
from .shapes import repeat_last

Range = tuple[float, float]  # fractions of the noise schedule: start, end


def add(masks: Sequence[Tensor | None], ranges: Sequence[Range]) -> list[Tensor | None]:
    """Masks [masks, H, W] as they are: where two overlap, both act in full."""
    return list(masks)


def normalize(masks: Sequence[Tensor | None], ranges: Sequence[Range]) -> list[Tensor | None]:
    """Masks [masks, H, W], each divided by max(1, sum): together they never act more than one alone
    would."""
    own = same_size(masks)
    met = [_met(ranges, i, range(len(own))) for i in range(len(own))]
    sums = {others: sum((own[j] for j in others), torch.zeros(())) for others in set(met)}
    return [mask / sums[others].clamp(min=1) for mask, others in zip(own, met, strict=True)]


def priority(masks: Sequence[Tensor | None], ranges: Sequence[Range]) -> list[Tensor | None]:
    """Masks [masks, H, W], each with what those before it have left: min(mask, 1 - their sum)."""
    own = same_size(masks)
    for i, mask in enumerate(own):
        own[i] = torch.minimum(mask, left_over([own[j] for j in _met(ranges, i, range(i))], mask))
    return list(own)


def background(
    masks: Sequence[Tensor | None], ranges: Sequence[Range], own: Tensor | None, own_range: Range
) -> Tensor | None:
    """Where none of the masks [masks, H, W] is: 1 - sum, not below 0; times ``own``. None acts
    everywhere."""
    met = [masks[j] for j in _met([*ranges, own_range], len(masks), range(len(masks)))]
    if not met:
        return own
    *sized, last = same_size([*met, own])
    return last * left_over(sized, last)


def left_over(masks: Sequence[Tensor], like: Tensor) -> Tensor:
    """1 - sum of the masks [masks, H, W], not below 0."""
    rest = torch.ones_like(like)
    for mask in masks:
        rest = rest - mask
    return rest.clamp(min=0)


def multiply(mask: Tensor | None, other: Tensor) -> Tensor:
    """The product of two masks [masks, H, W], at the size of the larger."""
    mask, other = same_size([mask, other])
    return mask * other


def same_size(masks: Sequence[Tensor | None]) -> list[Tensor]:
    """Masks as [n, H, W] of one batch and the size of the largest; None is white everywhere."""
    size = largest(masks)
    count = max((len(mask) for mask in masks if mask is not None), default=1)
    white = torch.ones(1, *size)
    return [repeat_last(white if mask is None else to_grid(mask, *size), count) for mask in masks]


def largest(masks: Sequence[Tensor | None]) -> tuple[int, int]:
    """(height, width) of the one of masks [masks, H, W] with most pixels; one pixel where none has a
    size."""
    sizes = [(mask.shape[-2], mask.shape[-1]) for mask in masks if mask is not None]
    return max(sizes, key=lambda size: size[0] * size[1], default=(1, 1))


def _met(ranges: Sequence[Range], i: int, others: Sequence[int]) -> tuple[int, ...]:
    """Which of the others can act at the same step as region i; i itself is one."""
    start, end = ranges[i]
    return tuple(j for j in others if j == i or max(start, ranges[j][0]) < min(end, ranges[j][1]))


Rule = Callable[[Sequence["Tensor | None"], Sequence[Range]], "list[Tensor | None]"]
RULES: dict[str, Option[Rule]] = {
    "add": Option(
        add,
        "all act in full, for masks that only meet or whose fades sum to 1; two references in full "
        "at one place soon burn",
    ),
    "normalize": Option(
        normalize,
        "each is divided by max(1, sum), so that together they sum to at most 1, for regions that "
        "share a place as equals",
    ),
    "priority": Option(
        priority,
        "the first region wins and each of the next gets min(mask, 1 - sum of those before), for a "
        "subject in front of something",
    ),
}
