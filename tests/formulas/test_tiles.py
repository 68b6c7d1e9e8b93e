"""Overlapping tiles: where they lie, what they show, and their masks."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ipadapter_pack.nodes.legacy.formulas.sharpen import sharpened
from ipadapter_pack.nodes.legacy.formulas.tiles import SIDE, overlapping, starts
from ipadapter_pack.tests.ipadapter.test_preprocess import photo
from PIL import Image


def pictures(height, width, count=1):
    return torch.from_numpy(photo(height, width))[None].repeat(count, 1, 1, 1) / 255


@pytest.mark.parametrize("size", [256, 257, 341, 511, 512, 513, 700, 768, 1000, 1024])
def test_they_start_where_the_formula_says(size):
    count = math.ceil(size / 256)
    overlap = Fraction(count * 256 - size, count - 1) if count > 1 else Fraction(0)
    assert starts(size) == [int(i * (256 - overlap)) for i in range(count)]
    assert starts(size)[-1] + SIDE == size


CUTS = {  # (height, width) -> (down, right, height, width) of what is shown; its size then; tiles
    (300, 301): ((0, 0, 300, 300), (512, 512), (2, 2)),
    (403, 305): ((49, 0, 305, 305), (512, 512), (2, 2)),  # 1.32
    (410, 305): ((0, 0, 410, 305), (344, 256), (2, 1)),
    (300, 400): ((0, 0, 300, 400), (256, 341), (1, 2)),  # 0.75
    (40, 100): ((0, 0, 40, 100), (256, 640), (1, 3)),
    (600, 150): ((0, 0, 600, 150), (1024, 256), (4, 1)),
}


@pytest.mark.parametrize("size", CUTS)
def test_they_show_the_picture(size):
    """As Pillow resizes it from 8 bits."""
    (down, right, height, width), (high, wide), (rows, columns) = CUTS[size]
    shown = photo(*size)[down : down + height, right : right + width]
    expected = np.array(Image.fromarray(shown).resize((wide, high), Image.Resampling.LANCZOS))
    tiles = overlapping(pictures(*size, 2), None, 0.0)
    assert len(tiles) == rows * columns
    places = [(y, x) for y in starts(high) for x in starts(wide)]
    for tile, (y, x) in zip(tiles, places, strict=True):
        part = torch.from_numpy(expected[y : y + 256, x : x + 256]).float() / 255
        assert torch.equal(tile.picture, part.expand(2, -1, -1, -1))
        inside = torch.zeros(1, high, wide)
        inside[:, y : y + 256, x : x + 256] = 1
        torch.testing.assert_close(tile.mask, inside, rtol=0, atol=1e-5)


def test_of_a_very_wide_picture_the_middle_is_shown():
    """Four tiles of it; of 5 to 1, exactly what lies in the middle of all of it."""
    expected = np.array(
        Image.fromarray(photo(60, 300)).resize((1280, 256), Image.Resampling.LANCZOS)
    )
    tiles = overlapping(pictures(60, 300), None, 0.0)
    assert len(tiles) == 4
    for i, tile in enumerate(tiles):
        part = torch.from_numpy(expected[:, 128 + 256 * i : 384 + 256 * i]).float() / 255
        assert torch.equal(tile.picture[0], part)


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (3, 100_000)])
def test_extreme_pictures(size):
    """A bright middle of four times the shorter side."""
    height, width = size
    side, middle = min(size), max(size) // 2
    along = 1 if height > width else 2
    image = torch.zeros(1, *size, 3)
    image.narrow(along, middle - 4 * side, 8 * side).fill_(1)
    tiles = overlapping(image, image[..., 0], 0.5)
    assert len(tiles) == 4
    for tile in tiles:
        assert tile.picture.shape == (1, 256, 256, 3)
        assert torch.equal(tile.picture, torch.ones(1, 256, 256, 3))
        assert abs(tile.mask.sum() - 256 * 256) < 1


@pytest.mark.parametrize("size", [(300, 301), (120, 300), (300, 80)])
@pytest.mark.parametrize("mask_size", [(300, 301), (64, 64), (31, 200)])
def test_each_has_its_part_of_the_mask(size, mask_size):
    """Which is brought to the picture's size first, and then goes with it."""
    mask = torch.rand(3, *mask_size, generator=torch.Generator().manual_seed(1))
    cut = {"mode": "bicubic", "antialias": True}
    where = F.interpolate(mask[:, None], size, **cut).clamp(0, 1)
    tiles = overlapping(pictures(*size), mask, 0.0)
    if size == (300, 301):
        where = where[..., :300]
    where = F.interpolate(where, tiles[0].mask.shape[1:], **cut).clamp(0, 1)[:, 0]
    corners = [(y, x) for y in starts(where.shape[1]) for x in starts(where.shape[2])]
    for tile, (y, x) in zip(tiles, corners, strict=True):
        expected = torch.zeros_like(where)
        expected[:, y : y + 256, x : x + 256] = where[:, y : y + 256, x : x + 256]
        torch.testing.assert_close(tile.mask, expected, rtol=0, atol=1e-5)


def test_they_are_cut_from_the_sharpened_picture():
    image = pictures(100, 300)
    soft, sharp = (overlapping(image, None, s) for s in (0.0, 0.7))
    assert starts(768) == [0, 256, 512]  # side by side
    whole = torch.cat([t.picture for t in soft], 2).movedim(-1, 1)
    expected = sharpened(whole, 0.7).movedim(1, -1)
    assert torch.equal(torch.cat([t.picture for t in sharp], 2), expected)


@pytest.mark.parametrize("channels", [1, 4])
def test_gray_and_alpha_pictures(channels):
    image = torch.rand(2, 30, 80, channels)
    rgb = image[..., :3].expand(-1, -1, -1, 3)
    for ours, expected in zip(
        overlapping(image, None, 0.3), overlapping(rgb, None, 0.3), strict=True
    ):
        assert torch.equal(ours.picture, expected.picture)
