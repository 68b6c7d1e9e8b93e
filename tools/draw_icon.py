"""Draws the registry's icon and banner, .github/icon.png and .github/banner.png:
``python3 tools/with_comfyui.py tools/draw_icon.py``."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

FOLDER = Path(__file__).resolve().parent.parent / ".github"
ICON, BANNER = (400, 400), (1344, 576)  # width, height
NIGHT = torch.tensor([0.09, 0.10, 0.13])
# Center (in heights from the middle), radius, color: three references, each in its own region.
REGIONS = [
    ((-0.17, -0.10), 0.27, torch.tensor([0.96, 0.33, 0.22])),
    ((0.17, -0.06), 0.25, torch.tensor([0.20, 0.55, 1.00])),
    ((0.0, 0.20), 0.22, torch.tensor([0.36, 0.76, 0.36])),
]
FADE = 0.05  # of a region's edge, in heights


def regions(width: int, height: int, right: float = 0.0) -> Image.Image:
    """The regions on a dark ground, moved to the right by a share of the width."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    x, y = (x - width * (0.5 + right)) / height, (y - height / 2) / height
    pixels = NIGHT.expand(height, width, 3)
    for (center_x, center_y), radius, color in REGIONS:
        distance = ((x - center_x) ** 2 + (y - center_y) ** 2).sqrt()
        mask = ((radius - distance) / FADE + 0.5).clamp(0, 1)[..., None]
        pixels = pixels + mask * 0.8 * color
    return Image.fromarray((pixels.clamp(0, 1) * 255).round().byte().numpy())


def main() -> None:
    regions(*ICON).save(FOLDER / "icon.png", optimize=True)
    banner = regions(*BANNER, right=0.26)
    draw = ImageDraw.Draw(banner)
    draw.text((80, 190), "IPAdapter Regions", fill="white", font=ImageFont.load_default(78))
    text = "each reference acts only where its mask is white"
    draw.text((84, 310), text, fill="#b8bcc8", font=ImageFont.load_default(30))
    banner.save(FOLDER / "banner.png", optimize=True)


if __name__ == "__main__":
    main()
