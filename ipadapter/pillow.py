"""Pictures resized by Pillow, 8 bits deep."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from .errors import pick

FILTERS = {
    name: Image.Resampling[name]
    for name in ("LANCZOS", "BICUBIC", "HAMMING", "BILINEAR", "BOX", "NEAREST")
}


def pillow_resized(pixels: Tensor, height: int, width: int, interpolation: str) -> Tensor:
    """[images, 3, H, W], 0 to 1 -> float32 [images, 3, height, width], on the CPU.

    Eight bits as torchvision's to_pil_image makes them: rounded down.
    """
    resample = pick(FILTERS, interpolation, "interpolation")
    levels = (pixels.clamp(0, 1) * 255).byte()
    pictures = rearrange(levels, "images c h w -> images h w c").cpu().numpy()
    scaled = [np.asarray(Image.fromarray(p).resize((width, height), resample)) for p in pictures]
    levels = rearrange(torch.as_tensor(np.stack(scaled)), "images h w c -> images c h w")
    return levels.float() / 255
