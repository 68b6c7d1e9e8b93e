"""What the nodes say about frames and steps, read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from ...ipadapter.reference import RegionSettings
from ...masks.layout import same_shape
from ...masks.overlap import largest, multiply
from ..shared.notices import warn


def warn_stretched(masks: Sequence[Tensor | None]) -> None:
    """Say which masks [masks, H, W] get another shape where all are brought to the size of the largest."""
    size = largest(masks)
    for height, width in sorted({tuple(mask.shape[-2:]) for mask in masks if mask is not None}):
        if not same_shape((height, width), size):
            whole = f"{size[1]} x {size[0]}"
            warn(f"a mask is {width} x {height}, another {whole}: the first is stretched to that")


def limit_step_masks(settings: RegionSettings) -> RegionSettings:
    """The same, the step masks within the mask."""
    mask, over_time = settings.mask, settings.over_time
    warn_stretched([mask, *over_time.step_masks])
    step_masks = tuple(multiply(mask, part) for part in over_time.step_masks)
    return replace(settings, over_time=replace(over_time, step_masks=step_masks))
