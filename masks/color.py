"""A mask of the places where a picture has one color."""

import re

import torch
from PIL import ImageColor
from torch import Tensor

SOFT_EDGE = 8  # 8-bit levels beyond the tolerance over which the mask falls from 1 to 0


def mask_from_color(image: Tensor, color: str | int, tolerance: int) -> Tensor:
    """Where image [images, H, W, gray, RGB or RGBA] has this color: float32 [images, H, W].

    The distance to a color is the largest difference of its three 8-bit channels. What is fully
    transparent has no color.
    """
    levels = (image.float().clamp(0, 1) * 255).round()
    wanted = torch.tensor(read_color(color), device=image.device)
    distance = (levels[..., :3] - wanted).abs().amax(dim=-1)  # gray broadcasts to r = g = b
    mask = (1 - (distance - tolerance) / SOFT_EDGE).clamp(0, 1)
    return mask * (levels[..., 3] > 0) if image.shape[-1] == 4 else mask


def read_color(color: str | int) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of a color as people write it."""
    text = str(color).strip()
    try:
        if text.isdecimal():
            text = f"#{int(text):06x}"
        elif re.fullmatch(r"[\d\s]+,[\d\s]+,[\d\s]+", text):
            text = f"rgb({text})"
        red, green, blue = ImageColor.getrgb(text)[:3]
        if min(red, green, blue) < 0 or max(red, green, blue) > 255:
            raise ValueError
    except ValueError:
        raise ValueError(
            f"{color!r} is not a color: write #RRGGBB, #RGB, r,g,b or rgb(r,g,b) with 0 to 255 "
            "each, a CSS name such as tomato, or a whole number from 0 to 16777215"
        ) from None
    return red, green, blue
