"""Masks of the places where a picture has a color.

What ``partition`` calculates with. A smooth edge between two flat colors A and B has pixels
x = (1 - t) A + t B, with t rising from 0 to 1 across it. On that line
    |x - A| + |x - B| = |A - B|                the detour over x is 0,
    |x - B| - |x - A| = (1 - 2 t) |A - B|      x is nearer to A where t < 1/2.
So a pixel that is not flat and makes no detour between two flat colors around it is their mix, even if
a third color of the palette, which lies near their line, is nearer than both. A's share of it is
    clamp((|x - B| - |x - A|) / 2 s + 1/2, 0, 1)      with s = min(softness, |A - B|),
which is 1 - t, the mix itself, where softness is |A - B| or more, and falls from 1 to 0 over the middle
s levels of the edge where it is less. JPEG moves mixes off the line: a detour of up to OFF_LINE counts
as none. What makes a larger one is of a color of its own, if that is CLEARLY nearer.
"""

import re
from collections.abc import Callable, Iterable, Sequence

import torch
from einops import rearrange
from PIL import ImageColor
from torch import Tensor

Color = tuple[int, int, int]  # red, green, blue, 0 to 255

SOFT_EDGE = 8  # 8-bit levels beyond the tolerance over which the mask falls from 1 to 0

# In partition, which looks at edges. Distances between colors are Euclidean, in 8-bit RGB levels:
# there the smooth edge between two colors runs along the straight line between them.
FLAT = 24  # levels that each channel may span among a pixel and its eight neighbors
REACHES = [1, 1, 2, 4, 8]  # look 1, 2, 4, 8, then 16 pixels around for flat colors
APART = 28.0  # what is nearer is one color
NARROW = [1, 1, 2, 4]  # across up to 16 pixels (twice their sum), flat places may be an outline
OFF_LINE = 16.0  # levels by which what compression does to a mix may miss that line
CLEARLY = 4.0  # times nearer to a color of its own than to any mix
FARTHEST = 441  # levels from black to white


def mask_from_color(image: Tensor, color: str | int, tolerance: int) -> Tensor:
    """Where image [images, H, W, gray, RGB or RGBA] has this color: float32 [images, H, W].

    The distance to a color is the largest difference of its three 8-bit channels. What is fully
    transparent has no color.
    """
    wanted = torch.tensor(read_color(color), device=image.device)
    distance = (_levels(image)[..., :3] - wanted).abs().amax(dim=-1)  # gray is r = g = b
    mask = (1 - (distance - tolerance) / SOFT_EDGE).clamp(0, 1)
    return mask * opaque(image)


def partition(pictures: Iterable[Tensor], colors: Sequence[Color], softness: float = 0) -> Tensor:
    """Share pictures [H, W, gray, RGB or RGBA] among colors: float32 [colors, pictures, H, W].

    Every pixel that is not fully transparent goes to its nearest color; but what mixes two
    neighboring flat colors goes to the nearer of the two, though a third may look the same. So does
    an outline that has none of the colors. With a softness, the two share what lies less than so
    many levels nearer to the one. The sum over the colors is 1.
    """
    return torch.stack([_shares(picture, colors, softness) for picture in pictures], dim=1)


def _shares(picture: Tensor, colors: Sequence[Color], softness: float) -> Tensor:
    """picture [H, W, channels] -> float32 [colors, H, W]."""
    levels, visible = rgb_levels(picture), opaque(picture)
    palette = torch.tensor(colors, dtype=torch.float32, device=levels.device)
    own, off = _nearest_color(levels, palette)
    flat = is_flat(levels) & visible
    flat &= ~_narrow(flat & (off > APART))
    bits = 2 ** torch.arange(len(palette), dtype=torch.int16, device=levels.device)
    nearby = _flat_nearby(bits[own] * flat)
    edge = visible & ~flat
    shares = torch.zeros(len(palette), *own.shape, device=levels.device)
    shares.scatter_(0, own[None], visible[None].float())
    shares[:, edge] = _mixed(levels[edge], (nearby[edge] & bits[:, None]) != 0, palette, softness)
    return shares


def _nearest_color(levels: Tensor, palette: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the palette [colors, 3] is nearest to levels [H, W, 3], and its distance: [H, W].

    By |color - x|^2 less |x|^2: whole numbers, which float32 holds exactly.
    """
    planes = rearrange(levels, "h w rgb -> rgb (h w)").float()
    squares = palette.square().sum(dim=1, keepdim=True) - 2 * palette @ planes
    least, own = squares.min(dim=0)
    off = (least + planes.square().sum(dim=0)).sqrt()
    return own.reshape(levels.shape[:2]), off.reshape(levels.shape[:2])


def _narrow(places: Tensor) -> Tensor:
    """The parts of places [H, W], bool, into which no square of 17 pixels fits."""
    if not places.any():
        return places
    wide = places
    for join in (torch.logical_and, torch.logical_or):
        for step in NARROW:
            wide = _join_around(wide, step, join)
    return places & ~wide


def _mixed(levels: Tensor, nearby: Tensor, palette: Tensor, softness: float) -> Tensor:
    """Shares [colors, pixels] of levels [pixels, 3], by the flat colors near each.

    nearby: bool [colors, pixels], at least one for each pixel; palette: [colors, 3].
    """
    distance = torch.stack([distances(levels, color) for color in palette])
    off, own = distance.min(dim=0)
    distance.masked_fill_(~nearby, torch.inf)
    near, first = distance.min(dim=0)
    far, second = distance.scatter_(0, first[None], torch.inf).min(dim=0)
    alone = far.isinf()
    second = torch.where(alone, first, second)
    between = torch.stack([distances(palette, color) for color in palette])
    between = between[first, second]  # 0 where only one flat color is near
    detour = near + torch.where(alone, near, far) - between
    of_its_own = (detour > OFF_LINE) & (detour > off * CLEARLY)
    blend = between.clamp(max=softness)
    share = ((far - near) / blend / 2 + 0.5).clamp(max=1)
    share = torch.where(of_its_own | (blend == 0), 1, share)
    shares = torch.zeros_like(distance).scatter_(0, second[None], 1 - share[None])
    return shares.scatter_(0, torch.where(of_its_own, own, first)[None], share[None])


def distances(levels: Tensor, color: Tensor) -> Tensor:
    """Between levels [..., 3] and a color [3], Euclidean: [...]."""
    return (levels - color).square().sum(dim=-1).sqrt()


def _flat_nearby(flat: Tensor) -> Tensor:
    """Which colors a pixel may take, one bit per color: int16 [H, W] of flat pixels -> [H, W].

    A flat pixel keeps its own. Others take the flat colors around them: those of the smallest
    distance with at least two, else all of the largest; where none is near, any.
    """
    nearby, allowed = flat, flat
    for step in REACHES:
        nearby = _join_around(nearby, step, torch.bitwise_or)
        settled = (flat != 0) | ((allowed & (allowed - 1)) != 0)
        allowed = torch.where(settled, allowed, nearby)
    return torch.where(allowed == 0, -1, allowed)


def is_flat(levels: Tensor) -> Tensor:
    """Where 8-bit levels [H, W, 3] hardly change from pixel to pixel: bool [H, W]."""
    planes = rearrange(levels, "h w rgb -> rgb h w")
    span = _join_around(planes, 1, torch.maximum) - _join_around(planes, 1, torch.minimum)
    return (span <= FLAT).all(dim=0)


def _join_around(x: Tensor, step: int, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Every pixel of x [..., H, W] joined with the eight that lie ``step`` away."""
    for dim in (-2, -1):
        rest = x.shape[dim] - step
        if rest > 0:
            joined = x.clone()
            for here, there in ((0, step), (step, 0)):
                part = joined.narrow(dim, here, rest)
                part.copy_(join(part, x.narrow(dim, there, rest)))
            x = joined
    return x


def opaque(image: Tensor) -> Tensor:
    """Where image [..., channels] is not fully transparent: bool [...]."""
    if image.shape[-1] < 4:
        return torch.ones(image.shape[:-1], dtype=torch.bool, device=image.device)
    return _levels(image[..., 3]) > 0


def rgb_levels(image: Tensor) -> Tensor:
    """image [..., gray, RGB or RGBA] -> uint8 [..., 3]."""
    levels = _levels(image[..., :3]).to(torch.uint8)
    return levels.expand(*levels.shape[:-1], 3)


def _levels(image: Tensor) -> Tensor:
    """A picture's values, 0 to 1, as 8-bit levels in float32; uint8 already is levels."""
    if image.dtype == torch.uint8:
        return image.float()
    return (image.float().clamp(0, 1) * 255).round()


def read_color(color: str | int) -> Color:
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


def write_color(color: Color) -> str:
    return "#{:02X}{:02X}{:02X}".format(*color)
