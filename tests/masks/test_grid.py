"""Reducing a mask to a layer's grid."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from ipadapter_pack.masks.grid import pyramid, to_grid
from ipadapter_pack.masks.layout import Area, crop_to_grid, per_latent, same_shape

sizes = st.tuples(st.integers(1, 97), st.integers(1, 97))


@settings(deadline=None)
@given(mask=sizes, grid=sizes)
def test_white_stays_one_and_black_stays_zero_to_the_bit(mask, grid):
    assert torch.equal(to_grid(torch.ones(mask), *grid), torch.ones(grid))
    assert torch.equal(to_grid(torch.zeros(mask), *grid), torch.zeros(grid))


def test_white_stays_one_at_large_sizes():
    assert torch.equal(to_grid(torch.ones(2047, 4093), 131, 77), torch.ones(131, 77))


def test_whole_cells_are_the_mean_of_their_pixels():
    mask = torch.rand(2, 64, 96)
    expected = F.avg_pool2d(mask.double(), 8)
    torch.testing.assert_close(to_grid(mask, 8, 12).double(), expected, rtol=0, atol=1e-6)


def test_enlarging_is_bilinear():
    mask = torch.rand(3, 5, 7)
    expected = F.interpolate(mask[None].double(), size=(11, 23), mode="bilinear")[0]
    torch.testing.assert_close(to_grid(mask, 11, 23).double(), expected, rtol=0, atol=1e-6)


@settings(deadline=None)
@given(mask=sizes, grid=sizes)
def test_the_mean_is_kept_when_reducing(mask, grid):
    grid = tuple(min(m, g) for m, g in zip(mask, grid, strict=True))
    pixels = torch.rand(mask, generator=torch.Generator().manual_seed(1))
    assert to_grid(pixels, *grid).mean() == pytest.approx(pixels.mean().item(), abs=1e-5)


def test_a_feather_of_150_pixels_survives_at_a_32nd():
    ramp = torch.linspace(0, 1, 150)
    mask = torch.cat([torch.zeros(437), ramp, torch.ones(437)]).expand(1024, 1024)
    values = to_grid(mask, 32, 32)[0]
    soft = values[(values > 0) & (values < 1)]
    assert len(soft) >= 5
    assert torch.equal(soft, soft.sort().values)


def test_grids_of_a_unet_halve_rounding_up():
    assert pyramid(13, 8)[:4] == [(13, 8), (7, 4), (4, 2), (2, 1)]


def test_an_area_is_cropped_from_the_latent_grid():
    mask = torch.rand(1, 64, 128)
    latent = F.avg_pool2d(mask, 8)
    cropped = crop_to_grid(mask, (8, 16), Area(y=2, x=4, height=4, width=8), (2, 4))
    torch.testing.assert_close(cropped, F.avg_pool2d(latent[:, 2:6, 4:12], 2))


def test_batches_belong_to_latents():
    batch = torch.arange(3.0)[:, None]
    assert per_latent(batch, 2).flatten().tolist() == [0, 1]
    assert per_latent(batch, 5).flatten().tolist() == [0, 1, 2, 2, 2]
    assert per_latent(batch, 2, window=(1, 2)).flatten().tolist() == [1, 2]
    assert per_latent(batch[:1], 4).flatten().tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("mask", "canvas", "same"),
    [
        ((512, 512), (128, 128), True),  # a second pass at twice the size
        ((1000, 1504), (125, 188), True),
        ((513, 768), (64, 96), True),
        ((512, 512), (128, 120), False),
        ((512, 768), (96, 64), False),
    ],
)
def test_aspect_ratios_agree_to_within_a_cell(mask, canvas, same):
    assert same_shape(mask, canvas) is same
