"""What happens to a painted map on its way into ComfyUI."""

import io

import numpy as np
import torch
from PIL import Image


def tensor(image: Image.Image) -> torch.Tensor:
    """As Load Image gives one picture: float32 [H, W, channels]."""
    return torch.from_numpy(np.array(image, dtype=np.float32) / 255)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def scaled(image: Image.Image, by: float) -> Image.Image:
    size = (round(image.width * by), round(image.height * by))
    return image.resize(size, Image.Resampling.BICUBIC)
