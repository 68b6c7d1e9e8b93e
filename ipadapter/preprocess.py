"""Pictures as the image encoder was trained to see them."""

from __future__ import annotations

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

CENTER = (0.5, 0.5)  # how far down and to the right, as a part of what is to be cut off


def fit_to_encoder(image: Tensor, size: int, place: tuple[float, float] = CENTER) -> Tensor:
    """Shorter side to ``size``, then a square: [images, H, W, channels] -> [images, size, size, 3].

    As transformers' CLIPImageProcessor does with PIL, with which the adapters were trained: bicubic
    with antialiasing, the longer side rounded down, the center square.
    """
    pixels = rgb(image)
    if pixels.shape[-2:] != (size, size):
        pixels = shorter_side(pixels, size)
        height, width = pixels.shape[-2:]
        down, right = int((height - size) * place[0]), int((width - size) * place[1])
        pixels = pixels[..., down : down + size, right : right + size]
    return rearrange(pixels, "images c h w -> images h w c")


def shorter_side(pixels: Tensor, size: int) -> Tensor:
    """[images, 3, H, W] with the shorter side ``size`` long."""
    height, width = pixels.shape[-2:]
    short = min(height, width)
    return resized(pixels, size * height // short, size * width // short)


def resized(pixels: Tensor, height: int, width: int) -> Tensor:
    """[images, 3, ...] -> [images, 3, height, width]"""
    scaled = F.interpolate(pixels, size=(height, width), mode="bicubic", antialias=True)
    return scaled.clamp(0, 1)


def rgb(image: Tensor) -> Tensor:
    """[images, H, W, 1, 3 or 4 channels] -> float32 [images, 3, H, W], without alpha."""
    pixels = rearrange(image[..., :3], "images h w c -> images c h w")
    return pixels.float().expand(-1, 3, -1, -1)
