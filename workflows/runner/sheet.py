"""Drawing the demo's pictures: masks over a picture, heat maps, and one sheet with all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

Pixels = NDArray[np.float32]  # [height, width, 3] or [height, width], 0 to 1
COLORS = np.array([[235, 120, 40], [70, 130, 230]], np.float32) / 255  # of the regions, in order
HEAT = np.array([[8, 8, 20], [90, 20, 110], [215, 60, 70], [250, 160, 50], [255, 250, 200]])
INK, PAPER, MUTED, GAP = (25, 25, 30), (250, 250, 247), (105, 105, 112), 24
TILE = (384, 256)


def overlay(picture: Image.Image, masks: Sequence[Pixels]) -> Image.Image:
    """Each mask as a tint of its own color over the picture in gray."""
    gray = np.asarray(ImageOps.grayscale(picture), np.float32)[..., None] / 255
    tint = sum(m[..., None] * c for m, c in zip(masks, COLORS, strict=False))
    return to_image(0.45 * gray + 0.55 * np.clip(tint, 0, 1))


def heat_map(values: Pixels) -> Image.Image:
    """0 is dark, 1 is bright."""
    at = np.clip(values, 0, 1) * (len(HEAT) - 1)
    low = np.minimum(at.astype(int), len(HEAT) - 2)
    share = (at - low)[..., None]
    return to_image((HEAT[low] * (1 - share) + HEAT[low + 1] * share) / 255)


def to_image(values: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray((np.clip(values, 0, 1) * 255).round().astype(np.uint8))


def contact_sheet(
    pictures: Mapping[str, Image.Image],
    references: Sequence[Image.Image],
    ratios: Sequence[float],
    note: str,
) -> Image.Image:
    """References and masks above, the result and what each reference changes in it below.

    ``ratios``: of each reference's mean change inside its region to that outside.
    """
    left, right = (f"inside its region {r:.1f} times the change outside" for r in ratios)
    tiles = [
        ("Reference, left", "acts in the orange region", references[0]),
        ("Reference, right", "acts in the blue region", references[1]),
        ("Regions", "the two attn_masks over the result", pictures["masks"]),
        ("What the left one changes", left, pictures["difference-left"]),
        ("What the right one changes", right, pictures["difference-right"]),
        ("Result", "both references, one sampling pass", pictures["result"]),
    ]
    top, caption = 96, 56
    width = 3 * TILE[0] + 4 * GAP
    height = top + 2 * (TILE[1] + caption + GAP) + 54
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 20), "Two references, two regions, one picture", INK, font(30))
    if note:
        draw.text((GAP, 60), note, MUTED, font(18))
    for i, (name, text, picture) in enumerate(tiles):
        x = GAP + i % 3 * (TILE[0] + GAP)
        y = top + i // 3 * (TILE[1] + caption + GAP)
        fitted = ImageOps.contain(picture, TILE)
        sheet.paste(fitted, (x + (TILE[0] - fitted.width) // 2, y + (TILE[1] - fitted.height) // 2))
        draw.text((x, y + TILE[1] + 6), name, INK, font(19))
        draw.text((x, y + TILE[1] + 30), text, MUTED, font(15))
    add_scale(sheet, draw, height - 54)
    return sheet


def add_scale(sheet: Image.Image, draw: ImageDraw.ImageDraw, y: int) -> None:
    """What the colors of the difference maps mean."""
    ramp = heat_map(np.tile(np.linspace(0, 1, TILE[0], dtype=np.float32), (16, 1)))
    sheet.paste(ramp, (GAP, y))
    draw.text((GAP, y + 20), "no change", MUTED, font(14))
    most = "largest change"
    draw.text((GAP + TILE[0] - draw.textlength(most, font(14)), y + 20), most, MUTED, font(14))


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
