"""Draws the picture of the overlap rules in the help of Apply IPAdapter Regions:
``python3 tools/with_comfyui.py tools/draw_overlap.py``."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parent.parent
SIZE, GAP, TITLE, COLUMNS = 300, 16, 54, 2
COLORS = torch.tensor([[0.95, 0.25, 0.2], [0.2, 0.5, 1.0], [0.35, 0.7, 0.3]])


def disc(x: float, y: float, radius: float, fade: float) -> torch.Tensor:
    """[1, SIZE, SIZE]: 1 inside, falling to 0 over a share of the picture's width."""
    at = (torch.arange(SIZE) + 0.5) / SIZE
    distance = ((at - x) ** 2 + (at[:, None] - y) ** 2).sqrt()
    return ((radius - distance) / fade + 0.5).clamp(0, 1)[None]


def panels() -> dict[str, list[torch.Tensor]]:
    """The masks of two regions, and of the background, under each rule."""
    from pack.masks.overlap import RULES, background

    masks, ranges = [disc(0.37, 0.45, 0.27, 0.1), disc(0.63, 0.55, 0.27, 0.1)], [(0.0, 1.0)] * 2
    drawn = {name: rule.value(masks, ranges) for name, rule in RULES.items()}
    rest = background(masks, ranges, None, (0.0, 1.0))
    return {**drawn, "normalize, with background": [*RULES["normalize"].value(masks, ranges), rest]}


def main() -> None:
    sys.modules["pack"] = type(sys)("pack")
    sys.modules["pack"].__path__ = [str(ROOT)]
    drawn = panels()
    across, down = SIZE + GAP, SIZE + TITLE
    rows = -(-len(drawn) // COLUMNS)
    picture = Image.new("RGB", (COLUMNS * across + GAP, rows * down + GAP), "#202020")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(22)
    for number, (name, masks) in enumerate(drawn.items()):
        tints = [m[0, ..., None] * color for m, color in zip(masks, COLORS, strict=False)]
        pixels = (torch.stack(tints).sum(0).clamp(0, 1) * 255).byte().numpy()
        left, top = GAP + number % COLUMNS * across, number // COLUMNS * down
        draw.text((left, top + 18), name, fill="white", font=font)
        picture.paste(Image.fromarray(pixels), (left, top + TITLE))
    picture.save(ROOT / "nodes" / "web" / "docs" / "overlap.png", optimize=True)


if __name__ == "__main__":
    main()
