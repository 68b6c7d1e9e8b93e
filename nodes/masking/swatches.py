"""The picture under Masks From Color Map: the regions, and each color with its number."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import interpolate

from ...masks.color import Color, write_color
from ...masks.views import percent

WIDTH = 512  # of the picture, and the most height that the regions take
SWATCH = 40
GAP = 8
COLUMNS = 2
BACKGROUND = (32, 32, 32)  # also of what belongs to no region
LIGHT, DARK = (240, 240, 240), (0, 0, 0)


def swatches(
    masks: Tensor, colors: Sequence[Color], coverage: Sequence[float]
) -> tuple[Tensor, str]:
    """masks [colors, H, W] repainted above a swatch of each color: image [1, h, w, 3], and a text.

    ``coverage`` is the share of the pictures that each color has, 0 to 1.
    """
    regions = repainted(masks, colors)
    rows = -(-len(colors) // COLUMNS)
    height = regions.height + rows * (SWATCH + GAP) + GAP
    sheet = Image.new("RGB", (WIDTH, height), BACKGROUND)
    sheet.paste(regions, ((WIDTH - regions.width) // 2, 0))
    draw = ImageDraw.Draw(sheet)
    lines = [
        f"{write_color(c)}  {percent(share)}" for c, share in zip(colors, coverage, strict=True)
    ]
    for place, (color, line) in enumerate(zip(colors, lines, strict=True)):
        column, row = divmod(place, rows)
        left = GAP + column * WIDTH // COLUMNS
        swatch(draw, left, regions.height + GAP + row * (SWATCH + GAP), color, place + 1, line)
    text = "\n".join(f"{number}  {line}" for number, line in enumerate(lines, start=1))
    return torch.from_numpy(np.asarray(sheet, dtype=np.float32) / 255)[None], text


def swatch(
    draw: ImageDraw.ImageDraw, left: int, top: int, color: Color, number: int, line: str
) -> None:
    """One color with its number on it and its line beside it."""
    font = ImageFont.load_default(SWATCH // 2)
    middle = top + SWATCH // 2
    ink = DARK if color_is_light(color) else LIGHT
    draw.rectangle([left, top, left + SWATCH - 1, top + SWATCH - 1], fill=color, outline=LIGHT)
    draw.text((left + SWATCH // 2, middle), str(number), ink, font, anchor="mm")
    draw.text((left + SWATCH + GAP, middle), line, LIGHT, font, anchor="lm")


def color_is_light(color: Color) -> bool:
    """By its luma, as in ITU-R BT.601."""
    red, green, blue = color
    return 0.299 * red + 0.587 * green + 0.114 * blue > 128


def repainted(masks: Tensor, colors: Sequence[Color]) -> Image.Image:
    """masks [colors, H, W], each in its color, no larger than WIDTH."""
    height, width = masks.shape[-2:]
    scale = WIDTH / max(height, width)
    size = [max(round(height * scale), 1), max(round(width * scale), 1)]
    shares = interpolate(masks[None].cpu(), size, mode="nearest-exact")[0]
    shares = torch.cat([shares, 1 - shares.sum(dim=0, keepdim=True)])
    palette = torch.tensor([*colors, BACKGROUND], dtype=torch.float32)
    levels = torch.einsum("chw,cl->hwl", shares, palette).round().clamp(0, 255)
    return Image.fromarray(levels.to(torch.uint8).numpy())
