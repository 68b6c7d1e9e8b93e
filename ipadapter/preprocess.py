"""Pictures as the image encoder was trained to see them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def fit_to_encoder(image: Tensor, size: int) -> Tensor:
    """Shorter side to ``size``, then the centre square: [images, H, W, channels] -> [images, size, size, 3].

    As transformers' CLIPImageProcessor does with PIL, with which the adapters were trained: bicubic
    with antialiasing, the longer side rounded down.
    """
    pixels = rgb(image)
    height, width = pixels.shape[-2:]
    if (height, width) != (size, size):
        short = min(height, width)
        scaled = (size * height // short, size * width // short)
        pixels = F.interpolate(pixels, size=scaled, mode="bicubic", antialias=True).clamp(0, 1)
        top, left = (scaled[0] - size) // 2, (scaled[1] - size) // 2
        pixels = pixels[..., top : top + size, left : left + size]
    return pixels.movedim(1, -1)


def rgb(image: Tensor) -> Tensor:
    """[images, H, W, 1, 3 or 4 channels] -> float32 [images, 3, H, W], without alpha."""
    return image[..., :3].movedim(-1, 1).float().expand(-1, 3, -1, -1)


def distorted(image: Tensor, noise: float) -> Tensor:
    """A picture to steer away from: the same colours without the shapes.

    Shuffled by elastic displacement, flipped both ways, with noise added; the more ``noise`` (0 to
    1), the smoother the shuffle and the less grain. [images, H, W, channels] -> [images, 224, 224, 3].
    The recipe of the first version of cubiq/ComfyUI_IPAdapter_plus (46241f3), from a generator of
    its own with a fixed seed.
    """
    from torchvision.transforms import InterpolationMode  # pyright: ignore[reportMissingTypeStubs]
    from torchvision.transforms import functional as TF  # pyright: ignore[reportMissingTypeStubs]

    size, alpha, sigma = 224, 75.0, 3.5 * noise
    pixels = rgb(image).cpu()
    pixels = TF.center_crop(pixels, [min(pixels.shape[-2:])])
    pixels = TF.resize(pixels, [size, size], InterpolationMode.BICUBIC, antialias=True)

    generator = torch.Generator().manual_seed(0)
    kernel = int(8 * sigma + 1) | 1  # odd
    shift = [torch.rand(1, 1, size, size, generator=generator) * 2 - 1 for _ in "xy"]
    if sigma > 0:
        shift = [TF.gaussian_blur(s, [kernel, kernel], [sigma, sigma]) for s in shift]
    displacement = torch.cat(shift, 1).movedim(1, -1) * alpha / size  # [1, size, size, 2]
    pixels = TF.elastic_transform(pixels, displacement, fill=[0.0] * 3)

    pixels = pixels.flip(-1, -2).movedim(1, -1)
    for _ in "xy":
        torch.rand(1, generator=generator)  # the recipe tosses a coin for each flip
    grain = torch.empty_like(pixels).normal_(generator=generator)
    return pixels + (0.25 * (1 - noise) + 0.05) * grain
