"""Distorted pictures to steer away from: the same colors without the shapes.

Every kind takes pictures [images, H, W, channels] and a strength, 0 to 1, and gives [images, 224,
224, 3]. Each draws from a generator of its own with a fixed seed, the same for every picture (but
the grain of ``distorted``, which by its recipe runs on from picture to picture).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from .options import Option
from .preprocess import fit_to_encoder, rgb

SIZE = 224
ALPHA = 75.0  # pixels of the largest displacement, before it is smoothed


def distorted(image: Tensor, noise: float) -> Tensor:
    """Pictures [images, H, W, channels] shuffled by elastic displacement, flipped both ways, with noise
    added; the more ``noise``, the smoother the shuffle and the less grain.

    The recipe of the first version of cubiq/ComfyUI_IPAdapter_plus (46241f3).
    """
    from torchvision.transforms import functional  # pyright: ignore[reportMissingTypeStubs]

    generator = torch.Generator().manual_seed(0)
    pixels = shuffled(square(image), 3.5 * noise, generator, functional)
    grain = torch.empty_like(pixels).normal_(generator=generator)
    return pixels + (0.25 * (1 - noise) + 0.05) * grain


def square(image: Tensor) -> Tensor:
    """The center square of pictures [images, H, W, channels]: [images, 3, SIZE, SIZE]."""
    from torchvision.transforms import InterpolationMode  # pyright: ignore[reportMissingTypeStubs]
    from torchvision.transforms import functional as TF  # pyright: ignore[reportMissingTypeStubs]

    pixels = rgb(image).cpu()
    pixels = TF.center_crop(pixels, [min(pixels.shape[-2:])])
    return TF.resize(pixels, [SIZE, SIZE], InterpolationMode.BICUBIC, antialias=True)


def shuffled(pixels: Tensor, sigma: float, generator: torch.Generator, functional: Any) -> Tensor:
    """[images, 3, SIZE, SIZE] -> [images, SIZE, SIZE, 3], displaced elastically and turned upside
    down; ``sigma``: how many pixels keep together.

    As torchvision's ElasticTransform, RandomVerticalFlip and RandomHorizontalFlip, and as many
    numbers drawn: these toss a coin for each flip. ``functional`` is that of its transforms or of
    its transforms.v2, whose blurs differ in the last bits.
    """
    kernel = int(8 * sigma + 1) | 1  # odd
    shift = [torch.rand(1, 1, SIZE, SIZE, generator=generator) * 2 - 1 for _ in "xy"]
    if sigma > 0:
        shift = [functional.gaussian_blur(s, [kernel, kernel], [sigma, sigma]) for s in shift]
    displacement = rearrange(torch.cat(shift, 1), "1 xy h w -> 1 h w xy") * ALPHA / SIZE
    pixels = functional.elastic_transform(pixels, displacement, fill=[0.0] * 3)
    for _ in "xy":
        torch.rand(1, generator=generator)
    return rearrange(pixels.flip(-1, -2), "images c h w -> images h w c")


def faded(image: Tensor, noise: float) -> Tensor:
    """Pictures [images, H, W, channels] mixed with random colors."""
    pixels, generator = _small(image)
    return pixels.lerp(torch.rand(pixels.shape[1:], generator=generator), noise)


def dissolved(image: Tensor, noise: float) -> Tensor:
    """Pictures [images, H, W, channels], the channels of single pixels replaced by random values, the
    more the more ``noise``."""
    pixels, generator = _small(image)
    values, chances = torch.rand(2, *pixels.shape[1:], generator=generator)
    return torch.where(chances < noise, values, pixels)


def grainy(image: Tensor, noise: float) -> Tensor:
    """Pictures [images, H, W, channels] with normally distributed noise added."""
    pixels, generator = _small(image)
    return (pixels + noise * torch.randn(pixels.shape[1:], generator=generator)).clamp(0, 1)


def _small(image: Tensor) -> tuple[Tensor, torch.Generator]:
    return fit_to_encoder(image, SIZE).cpu(), torch.Generator().manual_seed(0)


NOISES: dict[str, Option[Callable[[Tensor, float], Tensor]]] = {
    "shuffle": Option(
        distorted,
        "the picture in displaced pieces, turned around, with grain; less noise makes finer pieces "
        "and more grain",
    ),
    "fade": Option(faded, "mixed with random colors; at 1 nothing else is left"),
    "dissolve": Option(dissolved, "single values replaced by random ones: three in ten at 0.3"),
    "gaussian": Option(grainy, "with normally distributed grain"),
}
