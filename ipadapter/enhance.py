"""More detail than the encoder's few pixels hold: what it sees in tiles of a picture, brought to
the shape of what it sees in the whole.

After the ClipVision Enhancer of cubiq/ComfyUI_IPAdapter_plus, with these differences: the tiles are
cut from the center square, so that their patches lie where those of the whole picture lie; a
picture's embedding, which has no places, becomes the mean of the tiles'; and whole and tiles are
mixed in one way, ``ratio`` being the tiles' part.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .errors import IPAdapterError


def split(picture: Tensor, tiles: int) -> list[Tensor]:
    """The center square of a picture [H, W, channels] as ``tiles`` x ``tiles`` parts, row by row."""
    height, width = picture.shape[:2]
    side = min(height, width)
    if side < tiles:
        raise IPAdapterError(
            f"enhance_tiles is {tiles}, more than the {side} pixels of the picture's shorter side: "
            "choose fewer, or connect a larger picture"
        )
    down, right = (height - side) // 2, (width - side) // 2
    square = picture[down : down + side, right : right + side]
    rows = square.tensor_split(tiles, 0)
    return [tile for row in rows for tile in row.tensor_split(tiles, 1)]


def pooled(features: Tensor, tiles: int) -> Tensor:
    """Features of tiles, row by row -> features as of one picture.

    Embeddings [tiles², width] -> their mean [1, width]. Tokens [tiles², tokens, width] -> [1, tokens,
    width]: the patches of all tiles form one grid, which is averaged down to the size of a tile's;
    what comes before the patches (the class token) is averaged over the tiles.
    """
    if features.ndim == 2:
        return features.mean(0, keepdim=True)
    side = math.isqrt(features.shape[1])  # of the square grid of patches
    before = features.shape[1] - side**2
    grid = rearrange(
        features[:, before:],
        "(down right) (h w) width -> width (down h) (right w)",
        down=tiles,
        h=side,
    )
    patches = rearrange(F.avg_pool2d(grid, tiles), "width h w -> (h w) width")
    return torch.cat([features[:, :before].mean(0), patches])[None]


def mixed(whole: Tensor, parts: Tensor, ratio: float) -> Tensor:
    """Features of whole pictures and of their tiles, both [images, ...], as one.

    ``ratio`` 0: the whole pictures alone, 1: their tiles alone.
    """
    return whole * (1 - ratio) + parts * ratio
