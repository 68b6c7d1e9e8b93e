"""The old fitting of masks: by its words, in a loop, also where the guess is wrong."""

import math

import pytest
import torch
from ipadapter_pack.nodes.legacy.formulas.guessed_grid import to_guessed_grid


def point(mask, y, x):
    """Between the four nearest pixels, the border repeated."""
    height, width = mask.shape
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    down, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = mask[top, left] * (1 - x + left) + mask[top, right] * (x - left)
    lower = mask[down, left] * (1 - x + left) + mask[down, right] * (x - left)
    return upper * (1 - y + top) + lower * (y - top)


def by_hand(mask, height, width, cells):
    rows = max(1, math.floor(height / math.sqrt(height * width / cells)))
    rows += 1 if cells % rows else 0
    columns = cells // rows
    down, right = mask.shape[0] / rows, mask.shape[1] / columns
    flat = [
        point(mask, (r + 0.5) * down - 0.5, (c + 0.5) * right - 0.5)
        for r in range(rows)
        for c in range(columns)
    ]
    spare = cells - len(flat)
    return [0.0] * (spare // 2) + flat + [0.0] * (spare - spare // 2)


SIZES = [(8, 8), (9, 13), (17, 10), (23, 31), (11, 64), (64, 23), (5, 97), (24, 9)]


@pytest.mark.parametrize("latent", SIZES)
@pytest.mark.parametrize("level", range(4))
def test_as_its_words_say(latent, level):
    grid = latent
    for _ in range(level):
        grid = tuple(-(-side // 2) for side in grid)
    cells = grid[0] * grid[1]
    masks = torch.rand(2, 41, 30, generator=torch.Generator().manual_seed(0))
    expected = torch.tensor([by_hand(mask.double(), *latent, cells) for mask in masks])
    ours = to_guessed_grid(masks, latent, grid)
    torch.testing.assert_close(ours, expected.float(), rtol=0, atol=1e-5)


def test_some_guesses_have_too_few_cells():
    """Else the test above says nothing about padding."""
    height, width = SIZES[-1]
    grid = -(-height // 8), -(-width // 8)
    assert to_guessed_grid(torch.ones(1, 8, 8), (height, width), grid).min() == 0
