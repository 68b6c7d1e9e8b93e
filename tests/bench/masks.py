"""What the mask nodes' work takes, beside ComfyUI's own nodes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from comfy_extras import nodes_mask as core
from ipadapter_pack.masks.color import mask_from_color, partition
from ipadapter_pack.masks.edges import feather_shape, grow
from ipadapter_pack.masks.fit import fit
from ipadapter_pack.masks.grid import to_grid
from ipadapter_pack.masks.overlap import RULES
from ipadapter_pack.masks.palette import find_colors
from ipadapter_pack.masks.shapes import composite, feather
from ipadapter_pack.masks.video import reduce_space
from torch import Tensor

from .settings import Row, Settings, milliseconds

SIDE = 2048
SHARE = 0.1  # of the budget, for all of them
SIDES = {"left": 150, "top": 150, "right": 150, "bottom": 150}
PLACED = {"x": 64, "y": 32, "operation": "add"}
RED = 0xFF0000
PALETTE = [(255, 0, 0), (0, 160, 0), (0, 0, 255), (255, 255, 0), (30, 30, 30)]


class Work(NamedTuple):
    """Of a soft mask [1, side, side] and a picture [1, side, side, 3]."""

    name: str
    ours: Callable[[Tensor, Tensor], Any]
    cores: Callable[[Tensor, Tensor], Any] | None = None


WORK = [
    Work(
        "feather, 4 sides, 150 pixels",
        lambda mask, picture: feather(mask, **SIDES),
        lambda mask, picture: core.FeatherMask.execute(mask, **SIDES),
    ),
    *(
        Work(
            f"feather, shape, 64 pixels {way}",
            lambda mask, picture, way=way: feather_shape(mask, 64, way),
        )
        for way in ("inward", "outward", "centered")
    ),
    *(
        Work(
            f"{verb} by {abs(pixels)}",
            lambda mask, picture, pixels=pixels: grow(mask, pixels),
            lambda mask, picture, pixels=pixels: core.GrowMask.execute(mask, pixels, True),
        )
        for verb, pixels in (("grow", 8), ("grow", 32), ("shrink", -32))
    ),
    Work(
        "composite, add",
        lambda mask, picture: composite(mask, mask, **PLACED),
        lambda mask, picture: core.MaskComposite.execute(mask, mask, **PLACED),
    ),
    *(
        Work(
            f"fit, {mode}",
            lambda mask, picture, mode=mode: fit(
                mask, mask.shape[1] * 3 // 4, mask.shape[1] // 2, mode
            ),
        )
        for mode in ("stretch", "cover", "contain")
    ),
    Work(
        "to_grid, 1/8",
        lambda mask, picture: to_grid(mask, mask.shape[1] // 8, mask.shape[1] // 8),
    ),
    Work(
        "mask from color",
        lambda mask, picture: mask_from_color(picture, RED, 16),
        lambda mask, picture: core.ImageColorToMask.execute(picture, RED),
    ),
    Work("color map, find 5 colors", lambda mask, picture: find_colors(picture, 5)),
    Work("color map, part 5 colors", lambda mask, picture: partition(picture, PALETTE)),
    *(
        Work(
            f"overlap of 5, {rule}",
            lambda mask, picture, rule=rule: RULES[rule].value([mask] * 5, [(0.0, 1.0)] * 5),
        )
        for rule in ("normalize", "priority")
    ),
    Work(
        "to latent cells, max",
        lambda mask, picture: reduce_space(mask, mask.shape[1] // 8, mask.shape[1] // 8, "max"),
    ),
]


def mask_work(settings: Settings) -> Iterator[Row]:
    side = SIDE if settings.latent is None else 8 * settings.latent
    mask, picture = soft_disk(side), torch.rand(1, side, side, 3)
    for name, ours, cores in WORK:
        took = [median(settings, work, mask, picture) for work in (ours, cores) if work]
        yield {
            "work": name,
            "mask": f"{side} x {side}",
            "ours, ms": took[0],
            "ComfyUI's, ms": took[1] if cores else "-",
            "ours / ComfyUI's": took[0] / max(took[1], 1e-6) if cores else "-",
        }


def median(settings: Settings, work: Callable[..., Any], mask: Tensor, picture: Tensor) -> float:
    work(mask, picture)
    repeats = settings.budget.repeats(settings.calls, SHARE / len(WORK) / 2)
    return statistics.median([milliseconds(lambda: work(mask, picture)) for _ in repeats])


def soft_disk(side: int) -> Tensor:
    """White in the middle, black at the corners, gray between: [1, side, side]."""
    from_middle = torch.linspace(-1, 1, side)
    distance = torch.hypot(from_middle[:, None], from_middle)
    return ((0.9 - distance) * 4).clamp(0, 1)[None]
