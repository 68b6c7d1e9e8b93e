"""Squares: where they lie, that nothing is left out, and that the encoder changes nothing more."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.ipadapter.fit import CLIP_MEAN, MODES, POSITIONS, fit, fit_alpha
from ipadapter_pack.ipadapter.preprocess import fit_to_encoder
from PIL import Image


def ramp(height, width):
    """Red tells the column and green the row, 0 to 1; blue is 0.5."""
    y, x = torch.meshgrid(
        (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij"
    )
    return torch.stack([x, y, torch.full_like(x, 0.5)], -1)[None]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (64, 64), (224, 224), (20, 33)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_encoder_sees_exactly_what_comes_out(mode, shape, channels):
    picture = torch.rand(2, *shape, channels)
    for position in POSITIONS if mode == "crop" else ["center"]:
        fitted = fit(picture, mode, position, 64)
        assert fitted.shape[1:] == (64, 64, 3)
        assert fitted.shape[0] >= 2
        assert torch.equal(fit_to_encoder(fitted, 64), fitted)


def test_crop_in_the_center_is_what_the_encoder_does_by_itself():
    picture = torch.rand(1, 90, 150, 3)
    assert torch.equal(fit(picture, "crop", "center", 56), fit_to_encoder(picture, 56))


@pytest.mark.parametrize(
    ("shape", "position", "start"),
    [
        ((64, 128), "left", (0, 0)),
        ((64, 128), "center", (0, 32)),
        ((64, 128), "right", (0, 64)),
        ((64, 128), "top", (0, 32)),
        ((128, 64), "top", (0, 0)),
        ((128, 64), "bottom", (64, 0)),
        ((128, 64), "right", (32, 0)),
        ((64, 129), "right", (0, 65)),
    ],
)
def test_crop_takes_the_square_at_its_position(shape, position, start):
    picture = torch.rand(1, *shape, 3)
    y, x = start
    expected = picture[:, y : y + 64, x : x + 64]
    torch.testing.assert_close(fit(picture, "crop", position, 64), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(64, 128), (128, 64), (30, 200), (100, 100)])
def test_pad_shows_the_whole_picture_between_borders(shape):
    padded = fit(ramp(*shape), "pad", "center", 64)[0]
    height, width = (64 * side // max(shape) for side in shape)
    top, left = (64 - height) // 2, (64 - width) // 2
    inside = torch.zeros(64, 64, dtype=torch.bool)
    inside[top : top + height, left : left + width] = True
    border = padded[~inside]
    assert torch.equal(border, torch.tensor(CLIP_MEAN).expand_as(border))
    red, green = padded[top : top + height, left : left + width, :2].unbind(-1)
    for first, last in ((red[:, 0], red[:, -1]), (green[0], green[-1])):
        assert first.max() < 0.06
        assert last.min() > 0.94


def test_the_border_is_nothing_to_clip():
    """It is zero once the encoder has normalized it, but for its 8 bits."""
    from transformers import CLIPImageProcessorPil

    padded = fit(torch.ones(1, 8, 64, 3), "pad", "center", 64)[0]
    picture = Image.fromarray((padded * 255).round().byte().numpy())
    processor = CLIPImageProcessorPil(do_resize=False, do_center_crop=False)
    normalized = processor(picture, return_tensors="np")["pixel_values"][0]
    assert np.abs(normalized[:, 0, 0]).max() < 0.5 / 255 / 0.26


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(300, 200), (31, 90), (64, 64), (20, 33)])
def test_alpha_lies_where_its_picture_does(mode, shape):
    """As a picture would that is red where it is opaque; the borders of pad are none."""
    red = ramp(*shape)
    red[..., 1:] = 0
    fitted = fit(red, mode, "center", 64)[..., 0]
    alpha = fit_alpha(torch.cat([red, red[..., :1]], -1), mode, "center", 64)
    assert alpha.shape == fitted.shape
    inside = fit_alpha(red, mode, "center", 64) == 1
    torch.testing.assert_close(alpha[inside], fitted[inside], rtol=0, atol=1e-5)
    assert not alpha[~inside].any()
    assert inside.all() == (mode != "pad" or shape == (64, 64))


def test_stretch_squeezes_the_whole_picture():
    stretched = fit(ramp(40, 200), "stretch", "center", 64)
    torch.testing.assert_close(stretched, ramp(64, 64), rtol=0, atol=0.02)


@settings(deadline=None, max_examples=40)
@given(height=st.integers(8, 300), width=st.integers(8, 300))
def test_tiles_leave_nothing_out(height, width):
    """Each column of the ramp is in a tile, no tile is without use, and they go from end to end."""
    size = 16
    if max(height, width) > 64 * min(height, width):
        return
    tiles = fit(ramp(height, width), "tiles", "center", size)
    along = tiles[..., 0].mean(1) if width > height else tiles[..., 1].mean(2)  # [tiles, size]
    long, short = max(height, width), min(height, width)
    count = len(tiles)
    scaled = size * long // short
    assert (count - 1) * size < scaled <= count * size
    assert along[0, 0] < 1.5 / scaled
    assert along[-1, -1] > 1 - 1.5 / scaled
    step = 1 / scaled
    for before, after in pairwise(along):
        assert after[0] <= before[-1] + 1.5 * step  # no gap
        assert after[0] > before[0]


def test_tiles_are_evenly_spread():
    tiles = fit(ramp(32, 80), "tiles", "center", 32)
    starts = [round(float(tile[..., 0].mean(0)[0] * 80 - 0.5)) for tile in tiles]
    assert starts == [0, 24, 48]


def test_tiles_of_several_pictures_follow_each_other():
    pictures = torch.rand(2, 32, 64, 3)
    tiles = fit(pictures, "tiles", "center", 32)
    expected = torch.cat([fit(picture[None], "tiles", "center", 32) for picture in pictures])
    assert tiles.shape == (4, 32, 32, 3)
    assert torch.equal(tiles, expected)


def test_a_square_is_one_tile():
    picture = torch.rand(1, 50, 50, 3)
    assert torch.equal(fit(picture, "tiles", "center", 32), fit(picture, "crop", "center", 32))


def test_a_thread_of_a_picture_is_refused():
    with pytest.raises(IPAdapterError, match="image is 2 x 1000 pixels, which is 500 tiles"):
        fit(torch.rand(1, 1000, 2, 3), "tiles", "center", 224)
    assert fit(torch.rand(1, 1000, 2, 3), "pad", "center", 32).shape == (1, 32, 32, 3)
