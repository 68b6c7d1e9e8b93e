"""Pictures of masks, and what can be said of them: for looking at, never for sampling."""

from __future__ import annotations

import math

import torch
from einops import rearrange, repeat
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .grid import pyramid, to_grid

LEVELS = ("1/8", "1/16", "1/32", "1/64")  # of the picture's size: the levels of a UNet
TINT = (1.0, 0.0, 0.8)  # a pink that pictures rarely have
TINT_STRENGTH = 0.65
PANEL = 512  # pixels of the longer side of a level
COLUMNS = 2  # of levels: a node is too narrow for four
GAP = 16
FONT = 40  # readable at the width of a node
PAPER = 0.15  # dark gray, so that black masks have a border


def gray(mask: Tensor) -> Tensor:
    """[H, W] -> [H, W, 3]"""
    return mask[..., None].expand(-1, -1, 3)


def overlay(image: Tensor, mask: Tensor) -> Tensor:
    """The picture [H, W, 1, 3 or 4], tinted where mask [h, w] is white, as RGB [H, W, 3].

    The mask is stretched over it, as sampling does. Where it is 0 the picture stays as it is.
    """
    picture = image.cpu().float().clamp(0, 1)[..., :3].expand(-1, -1, 3)
    size = (picture.shape[0], picture.shape[1])
    strength = gray(to_grid(mask, *size)) * TINT_STRENGTH
    return picture * (1 - strength) + torch.tensor(TINT) * strength


def attention_levels(mask: Tensor, grid: tuple[int, int], image: Tensor | None = None) -> Tensor:
    """mask [h, w] as each level of a UNet sees it, two by two with its size below: RGB [H, W, 3].

    ``grid`` is the latent's (rows, columns). With ``image`` [H, W, channels], over that picture.
    """
    size = panel_size(grid)
    if image is not None:
        planes = to_grid(rearrange(image.float(), "h w c -> c h w"), *size)
        image = rearrange(planes, "c h w -> h w c")
    panels: list[tuple[Tensor, Tensor]] = []
    for level, (rows, columns) in zip(LEVELS, pyramid(*grid), strict=False):
        cells = to_grid(enlarged(to_grid(mask, rows, columns), *size), *size)
        seen = gray(cells) if image is None else overlay(image, cells)
        panels.append((seen, written(f"{level}: {columns} x {rows}")))
    return arranged(panels)


def panel_size(grid: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) in which a level is drawn: the grid's aspect ratio."""
    longer = max(grid)
    return max(grid[0] * PANEL // longer, 1), max(grid[1] * PANEL // longer, 1)


def enlarged(cells: Tensor, height: int, width: int) -> Tensor:
    """[rows, columns] -> at least [height, width], in whole and hard-edged blocks per cell."""
    down, right = (math.ceil(n / m) for n, m in zip((height, width), cells.shape, strict=True))
    return repeat(cells, "rows columns -> (rows down) (columns right)", down=down, right=right)


def written(text: str) -> Tensor:
    """White on dark gray: [H, W, 3]"""
    font = ImageFont.load_default(FONT)
    width = math.ceil(font.getlength(text)) + GAP
    line = Image.new("L", (width, FONT * 3 // 2), round(PAPER * 255))
    ImageDraw.Draw(line).text((0, 0), text, fill=255, font=font)
    pixels = torch.frombuffer(bytearray(line.tobytes()), dtype=torch.uint8)
    return gray(pixels.view(line.height, line.width) / 255)


def arranged(panels: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Pictures of one size, each with its label below, [H, W, 3] all of them, on one page."""
    height = panels[0][0].shape[0]
    down = height + panels[0][1].shape[0]
    right = max(part.shape[1] for panel in panels for part in panel) + GAP
    rows, columns = math.ceil(len(panels) / COLUMNS), min(len(panels), COLUMNS)
    page = torch.full((rows * down, columns * right - GAP, 3), PAPER)
    for i, (picture, label) in enumerate(panels):
        place = page[i // COLUMNS * down :, i % COLUMNS * right :]
        place[:height, : picture.shape[1]] = picture
        place[height : height + label.shape[0], : label.shape[1]] = label
    return page


def statistics(masks: Tensor) -> list[str]:
    """A line on each mask of [masks, H, W]: its size, its values, how much it covers."""
    size = f"{masks.shape[-1]} x {masks.shape[-2]}"
    count = len(masks)
    return [f"{i} of {count}: {described(mask)}, {size}." for i, mask in enumerate(masks, 1)]


def described(mask: Tensor) -> str:
    """What the values of mask [H, W] mean for a reference."""
    low, high = (value.item() for value in mask.aminmax())
    if low == high:
        return FLAT.get(low, f"{low:.3g} everywhere")
    coverage, touched = mask.mean().item(), (mask > 0).float().mean().item()
    return f"covers {percent(coverage)}, above 0 in {percent(touched)}, {low:.3g} to {high:.3g}"


def percent(share: float) -> str:
    """0 and 100 % are said only where they are exact."""
    value = 100 * share
    if 0 < value < 0.1:
        return "less than 0.1 %"
    if 99.9 < value < 100:
        return "more than 99.9 %"
    return f"{value:.1f} %"


FLAT = {
    0.0: "all black, covers 0 %: a reference with it acts nowhere",
    1.0: "all white, covers 100 %: a reference with it acts everywhere",
}
