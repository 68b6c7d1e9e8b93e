"""Contrast adaptive sharpening, against its formula in plain loops."""

import math

import pytest
import torch
from ipadapter_pack.nodes.legacy.formulas.sharpen import sharpened


def by_hand(channel, amount):
    """[H][W] of numbers -> the same, sharpened."""
    height, width = len(channel), len(channel[0])

    def at(y, x):
        return channel[y][x] if 0 <= y < height and 0 <= x < width else 0.0

    result = []
    for y in range(height):
        row = []
        for x in range(width):
            beside = [at(y - 1, x), at(y + 1, x), at(y, x - 1), at(y, x + 1)]
            cross = [*beside, at(y, x)]
            corners = [at(y + dy, x + dx) for dy in (-1, 1) for dx in (-1, 1)]
            low = max(min(cross), 0.0) + max(min(corners), 0.0)
            high = min(max(cross), 1.0) + min(max(corners), 1.0)
            room = math.sqrt(min(low, 2 - high) / high) if high else 0.0
            w = -room * (amount * (1 / 5 - 1 / 8) + 1 / 8)
            value = (sum(beside) * w + at(y, x)) / (1 + 4 * w)
            row.append(min(max(value, 0.0), 1.0))
        result.append(row)
    return result


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 2), (7, 8)])
@pytest.mark.parametrize("amount", [0.05, 0.5, 1.0])
def test_it_is_the_formula(size, amount):
    """Also where an interpolation has left values outside of 0 to 1."""
    pixels = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1)) * 1.1 - 0.05
    ours = sharpened(pixels, amount)
    for picture, sharp in zip(pixels, ours, strict=True):
        for channel, result in zip(picture, sharp, strict=True):
            expected = torch.tensor(by_hand(channel.double().tolist(), amount))
            torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("gray", [0.0, 0.3, 1.0])
def test_what_is_flat_stays(gray):
    pixels = torch.full((1, 3, 6, 6), gray)
    torch.testing.assert_close(sharpened(pixels, 1.0), pixels)


def test_the_outermost_pixels_stay():
    pixels = torch.rand(1, 3, 6, 6)
    sharp = sharpened(pixels, 1.0)
    edge = torch.ones(6, 6, dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    assert torch.equal(sharp[..., edge], pixels[..., edge])
    assert not torch.equal(sharp, pixels)


def test_more_is_sharper():
    pixels = 0.5 + 0.2 * torch.rand(1, 3, 9, 9)
    spread = [sharpened(pixels, amount).std() for amount in (0.0, 0.5, 1.0)]
    assert pixels.std() < spread[0] < spread[1] < spread[2]
