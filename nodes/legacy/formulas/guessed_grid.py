"""How ComfyUI_IPAdapter_plus fits a mask to a layer: for graphs that are to look as they did there.

It guesses the layer's grid from the number of its cells, takes four pixels for each, and where the
guess has too few cells pads both ends with black. ``masks/grid.py`` knows the grid and means every pixel.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor


def to_guessed_grid(mask: Tensor, latent: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """[masks, H, W] -> float32 [masks, cells], on the CPU; ``latent``: height and width of what the
    UNet is given. Of the layer's ``grid`` only the number of cells is known here.

    As CrossAttentionPatch.py of cubiq/ComfyUI_IPAdapter_plus at 9d076a3.
    """
    height, width = latent
    cells = grid[0] * grid[1]
    rows = max(1, int(height / math.sqrt(height * width / cells)))
    rows += cells % rows != 0
    fitted = F.interpolate(mask.cpu().float()[:, None], (rows, cells // rows), mode="bilinear")
    flat = fitted.flatten(1)
    spare = cells - flat.shape[1]  # never below 0: the guess loses what does not fill a row
    return F.pad(flat, (spare // 2, spare - spare // 2))
