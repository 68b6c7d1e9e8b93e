"""Pictures as the image encoder was trained to see them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

CENTER = (0.5, 0.5)  # how far down and to the right, as a part of what is to be cut off
LONGEST = 16  # times the shorter side: what is further out is cut off before anything is resized

# What CLIP's encoders take as nothing: the color that is zero once normalized.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)


def fit_to_encoder(image: Tensor, size: int, place: tuple[float, float] = CENTER) -> Tensor:
    """Shorter side to ``size``, then a square: [images, H, W, channels] -> [images, size, size, 3].

    As transformers' CLIPImageProcessor does with PIL, with which the adapters were trained: bicubic
    with antialiasing, the longer side rounded down, the center square.
    """
    return rearrange(square(rgb(image), size, place), "images c h w -> images h w c")


def square(pixels: Tensor, size: int, place: tuple[float, float] = CENTER) -> Tensor:
    """The same of pixels [images, channels, H, W]: [images, channels, size, size]."""
    if pixels.shape[-2:] == (size, size):
        return pixels
    most = LONGEST * min(pixels.shape[-2:])
    return cut(shorter_side(cut(pixels, most, place), size), size, place)


def cut(pixels: Tensor, most: int, place: tuple[float, float]) -> Tensor:
    """[..., H, W] with neither side longer than ``most``."""
    height, width = (min(side, most) for side in pixels.shape[-2:])
    down = int((pixels.shape[-2] - height) * place[0])
    right = int((pixels.shape[-1] - width) * place[1])
    return pixels[..., down : down + height, right : right + width]


def shorter_side(pixels: Tensor, size: int) -> Tensor:
    """[images, channels, H, W] with the shorter side ``size`` long."""
    height, width = pixels.shape[-2:]
    short = min(height, width)
    return resized(pixels, size * height // short, size * width // short)


def resized(pixels: Tensor, height: int, width: int) -> Tensor:
    """[images, channels, ...] -> [images, channels, height, width]"""
    scaled = F.interpolate(pixels, size=(height, width), mode="bicubic", antialias=True)
    return scaled.clamp(0, 1)


def rgb(image: Tensor) -> Tensor:
    """[images, H, W, 1, 3 or 4 channels] -> float32 [images, 3, H, W], nothing to CLIP where it is
    transparent."""
    pixels = rearrange(without_alpha(image), "images h w c -> images c h w")
    pixels = pixels.float().expand(-1, 3, -1, -1)
    if image.shape[-1] < 4:
        return pixels
    nothing = rearrange(pixels.new_tensor(CLIP_MEAN), "c -> c 1 1")
    return nothing.lerp(pixels, alpha(image))


def alpha(image: Tensor) -> Tensor:
    """[images, H, W, channels] -> float32 [images, 1, H, W], 1 where the picture is opaque."""
    if image.shape[-1] < 4:
        return image.new_ones(len(image), 1, *image.shape[1:3], dtype=torch.float32)
    return rearrange(image[..., 3:4], "images h w 1 -> images 1 h w").float().clamp(0, 1)


def without_alpha(image: Tensor) -> Tensor:
    """Pictures [images, H, W, channels] with the colors that are hidden where they are transparent,
    as ComfyUI's own nodes and older packs take them."""
    return image[..., :3]
