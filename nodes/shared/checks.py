"""What a node asks of the pictures and masks it is given, refused in one line."""

import torch
from torch import Tensor

from ...ipadapter.errors import IPAdapterError
from ...ipadapter.tensors import not_finite


def check_image(image: Tensor, name: str) -> None:
    """Refuse what is not a batch of pictures [images, H, W, channels] of finite numbers."""
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        raise IPAdapterError(
            f"{name} has the shape {list(image.shape)}: connect pictures, "
            "[images, height, width, channels] with 1, 3 or 4 channels"
        )
    _check_pixels(image, name, "picture")


def check_images(**images: Tensor | None) -> None:
    """The same for all of these, by the names of their inputs, that are connected."""
    for name, image in images.items():
        if image is not None:
            check_image(image, name)


def check_mask(mask: Tensor, name: str) -> Tensor:
    """The mask as float32 [masks, H, W], 0 to 1; uint8 counts from 0 to 255, [H, W] is one mask, and
    a channel of its own is as none.

    IPAdapterError for any other shape, no pixels, NaN and infinity. The mask itself stays as it is,
    and is what is returned where nothing has to be changed.
    """
    white = 255 if mask.dtype == torch.uint8 else 1
    mask = _three_dimensions(mask.detach(), name).float()
    _check_pixels(mask, name, "mask")
    mask = mask if white == 1 else mask / white
    low, high = torch.aminmax(mask)
    return mask if low >= 0 and high <= 1 else mask.clamp(0, 1)


def _three_dimensions(mask: Tensor, name: str) -> Tensor:
    """[H, W], [masks, H, W], [masks, 1, H, W] or [masks, H, W, 1] -> [masks, H, W]"""
    if mask.ndim == 4 and 1 in (mask.shape[1], mask.shape[-1]):
        return mask.squeeze(1 if mask.shape[1] == 1 else -1)
    if mask.ndim not in (2, 3):
        raise IPAdapterError(
            f"{name} has the shape {list(mask.shape)}: connect masks, [masks, height, width]"
        )
    return mask[None] if mask.ndim == 2 else mask


def _check_pixels(pixels: Tensor, name: str, kind: str) -> None:
    if pixels.shape[0] == 0:
        raise IPAdapterError(f"{name} is an empty batch: connect at least one {kind}")
    height, width = pixels.shape[1:3]
    if height == 0 or width == 0:
        raise IPAdapterError(
            f"{name} has no pixels (width {width}, height {height}): "
            "a crop before it may lie outside the picture"
        )
    found = not_finite(pixels)
    if found:
        raise IPAdapterError(f"{name} contains {found}: the node that made this {kind} failed")
