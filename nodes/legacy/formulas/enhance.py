"""What the ClipVision Enhancer of cubiq/ComfyUI_IPAdapter_plus (9d076a3) does otherwise than
``enhance``.
"""

from __future__ import annotations

import math

from torch import Tensor

from ....ipadapter.enhance import pooled
from ....ipadapter.errors import IPAdapterError


def even_parts(picture: Tensor, tiles: int) -> list[Tensor]:
    """A picture [H, W, channels] as ``tiles`` x ``tiles`` parts of one size, row by row; what is
    left over below and to the right is not in any."""
    height, width = (side // tiles for side in picture.shape[:2])
    if min(height, width) == 0:
        raise IPAdapterError(
            f"enhance_tiles is {tiles}, more than the {min(picture.shape[:2])} pixels of the "
            "picture's shorter side: choose fewer, or connect a larger picture"
        )
    return [
        picture[y * height : (y + 1) * height, x * width : (x + 1) * width]
        for y in range(tiles)
        for x in range(tiles)
    ]


def pooled_as_grids(features: Tensor, tiles: int) -> Tensor:
    """As ``pooled``, but embeddings [tiles², width] count as grids where the width is a square."""
    grids = features.ndim == 2 and math.isqrt(features.shape[1]) ** 2 == features.shape[1]
    return pooled(features[..., None], tiles)[..., 0] if grids else pooled(features, tiles)
