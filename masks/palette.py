"""The colors of a painted picture: found in it, or read from what a user wrote."""

import re
from collections.abc import Iterable, Sequence

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import avg_pool3d, interpolate, max_pool3d

from .color import APART, Color, distances, is_flat, opaque, partition, read_color, rgb_levels

MOST = 10  # colors of one palette
SMALLEST = 0.001  # share of the picture's flat places that makes a color
LONGEST = 512  # pixels per side at which colors are looked for: edges are narrow there
CELL = 8  # levels per side of a cell of the histogram
CELLS = 256 // CELL
STEPS = 3  # towards the middle of a color's pixels
LEVEL = 0.035  # of the picture's side: centers nearer than this lie at one place

ONE_COLOR = re.compile(r"\w+\([^)]*\)|\b\d{1,3}\s*,\s*\d{1,3}\s*,\s*\d{1,3}\b|[^\s,]+")


def read_colors(text: str) -> list[Color]:
    """The colors of a text, as read_color reads each; ValueError names what is none.

    They stand on lines or between semicolons, or between commas or spaces where these are not
    part of a color.
    """
    colors: list[Color] = []
    for part in filter(None, map(str.strip, re.split(r"[;\n]", text))):
        try:
            colors.append(read_color(part))
        except ValueError:
            colors += map(read_color, ONE_COLOR.findall(part))
    return colors


def find_colors(pictures: Tensor | Sequence[Tensor], count: int = 0) -> tuple[list[Color], bool]:
    """The flat colors of pictures [H, W, gray, RGB or RGBA], as by_place orders their regions.

    Edges and noise make no color. Pictures without a flat place are taken as they are. With a
    count, the most frequent ones however small, else all that are not tiny, at most MOST, and
    whether there are more. Empty where everything is transparent.
    """
    small = [_small(picture.cpu()) for picture in pictures]
    seen = Histogram()
    for picture in small:
        levels = picture[..., :3]
        seen.add(levels[is_flat(levels) & opaque(picture)])
    if not seen.count.any():
        for picture in pictures:
            seen.add(rgb_levels(picture)[opaque(picture)].cpu())
    peaks = seen.peaks(count, 0) if count else seen.peaks(MOST + 1, SMALLEST)
    colors = peaks[:MOST]
    order = by_place(partition(small, colors)) if colors else []
    return [colors[place] for place in order], len(peaks) > MOST


def _small(picture: Tensor) -> Tensor:
    """A picture no longer than LONGEST, opaque where all that went into a pixel is: uint8 RGBA."""
    alpha = opaque(picture).to(torch.uint8)[..., None] * 255
    rgba = torch.cat([rgb_levels(picture), alpha], dim=-1)
    shrink = -(-max(alpha.shape) // LONGEST)
    if shrink == 1:
        return rgba
    size = [max(side // shrink, 1) for side in alpha.shape[:2]]
    planes = rearrange(rgba, "h w rgba -> 1 rgba h w").float()
    small = rearrange(interpolate(planes, size, mode="area"), "1 rgba h w -> h w rgba")
    small[..., 3] = (small[..., 3] > 254.5) * 255
    return small.round().to(torch.uint8)


class Histogram:
    """How many pixels each cell of the RGB cube has, and the sum of their levels."""

    def __init__(self) -> None:
        self.count = torch.zeros(CELLS**3, dtype=torch.float64)
        self.sum = torch.zeros(CELLS**3, 3, dtype=torch.float64)

    def add(self, levels: Tensor) -> None:
        """levels: uint8 [pixels, 3]."""
        red, green, blue = (levels // CELL).long().unbind(-1)
        cell = (red * CELLS + green) * CELLS + blue
        self.count += torch.bincount(cell, minlength=CELLS**3)
        for channel in range(3):
            weights = levels[:, channel].double()
            self.sum[:, channel] += torch.bincount(cell, weights, minlength=CELLS**3)

    def peaks(self, most: int, smallest: float) -> list[Color]:
        """The colors around which most pixels lie, at least APART from each other.

        From the densest place that is left, each is found by mean shift with a flat kernel
        (Comaniciu and Meer 2002, doi 10.1109/34.1000236): the center moves to the mean of the
        pixels within APART / 2 of it, STEPS times. Then all that is nearer than APART is taken
        out. All but the first have this share of the pixels or more.
        """
        colors = self.sum / self.count.clamp(min=1)[:, None]  # of each cell
        enough = smallest * self.count.sum()
        left = self.count.clone()
        found: list[Color] = []
        while len(found) < most and left.any():
            near = _densest(left)
            if found and near.sum() < enough:
                break
            center = colors[near.argmax()]
            for _ in range(STEPS):
                near = left * (distances(colors, center) < APART / 2)
                center = near @ colors / near.sum()
            if not found or near.sum() >= enough:
                red, green, blue = (int(level.round()) for level in center)
                found.append((red, green, blue))
            left[distances(colors, center) < APART] = 0
        return found


def _densest(count: Tensor) -> Tensor:
    """The pixels of the 27 neighboring cells that have the most together, others 0: [cells]."""
    cube = count.reshape(1, CELLS, CELLS, CELLS)
    around = avg_pool3d(cube, 3, stride=1, padding=1)
    middle = torch.zeros_like(cube)
    middle.view(-1)[around.argmax()] = 1
    return count * max_pool3d(middle, 3, stride=1, padding=1).flatten()


def by_place(masks: Tensor) -> list[int]:
    """The order of masks [colors, images, H, W] from left to right, by the center of each.

    Those less than LEVEL apart follow each other from top to bottom, and those with one center by
    their area, the largest first.
    """
    x, y = (_centers(masks.sum(dim=(1, dim))) for dim in (2, 3))
    area = [float(mask.sum()) for mask in masks]
    order: list[int] = []
    for column in _groups(range(len(masks)), x):
        for row in _groups(column, y):
            order += sorted(row, key=area.__getitem__, reverse=True)
    return order


def _centers(profiles: Tensor) -> list[float]:
    """The middle of each of the profiles [colors, size], 0 to 1."""
    size = profiles.shape[1]
    places = (torch.arange(size, device=profiles.device) + 0.5) / size
    return [float(middle) for middle in profiles @ places / profiles.sum(dim=1).clamp(min=1e-3)]


def _groups(items: Iterable[int], place: Sequence[float]) -> list[list[int]]:
    """Items by their place; those less than LEVEL after the one before form a group."""
    groups: list[list[int]] = []
    for item in sorted(items, key=place.__getitem__):
        if groups and place[item] - place[groups[-1][-1]] < LEVEL:
            groups[-1].append(item)
        else:
            groups.append([item])
    return groups
