"""Bringing masks to a latent's cells and frames: against plain loops over pixels."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ipadapter_pack.masks.video import (
    SPATIAL,
    TEMPORAL,
    cut_rim,
    frame_groups,
    in_clips,
    in_pixels,
    one_each,
    reduce_space,
    reduce_time,
)

PLAIN = {
    "max": max,
    "min": min,
    "mean": lambda values: math.fsum(values) / len(values),
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
}


def four_each(latents: int) -> int:
    """A Wan VAE's frames: 1, then 4 each."""
    return max(0, latents * 4 - 3)


def touched(cell: int, pixels: int, cells: int) -> range:
    """The pixels that a cell touches, in whole numbers."""
    return range(cell * pixels // cells, -(-(cell + 1) * pixels // cells))


def plain_space(mask: torch.Tensor, height: int, width: int, reduce: str) -> list[list[float]]:
    rows, columns = mask.shape
    return [
        [
            PLAIN[reduce](
                [
                    mask[row, column].item()
                    for row in touched(y, rows, height)
                    for column in touched(x, columns, width)
                ]
            )
            for x in range(width)
        ]
        for y in range(height)
    ]


def test_the_same_choices_in_space_and_time():
    assert list(SPATIAL) == list(TEMPORAL) == list(PLAIN)


sizes = st.tuples(st.integers(1, 30), st.integers(1, 30))


@pytest.mark.parametrize("reduce", ["max", "min", "first", "last"])
@settings(deadline=None, max_examples=30)
@given(size=sizes, cells=sizes, seed=st.integers(0, 1000))
def test_a_cell_looks_at_every_pixel_it_touches(reduce, size, cells, seed):
    mask = torch.rand(size, generator=torch.Generator().manual_seed(seed))
    height, width = cells
    expected = torch.tensor([plain_space(mask, height, width, reduce)])
    assert torch.equal(reduce_space(mask[None], height, width, reduce), expected)


@settings(deadline=None, max_examples=30)
@given(cells=sizes, rows=st.integers(1, 4), columns=st.integers(1, 4))
def test_mean_is_that_of_the_cells_pixels(cells, rows, columns):
    mask = torch.rand(cells[0] * rows, cells[1] * columns)
    height, width = cells
    expected = torch.tensor([plain_space(mask, height, width, "mean")])
    torch.testing.assert_close(reduce_space(mask[None], height, width, "mean"), expected)


def test_mean_counts_a_pixel_on_the_border_by_its_share():
    mask = torch.tensor([[[1.0, 0.0, 0.0]]])
    assert reduce_space(mask, 1, 2, "mean")[0, 0].tolist() == pytest.approx([1 / 1.5, 0])


@pytest.mark.parametrize("reduce", PLAIN)
def test_large_white_and_black_stay(reduce):
    for value in (0.0, 1.0):
        cells = reduce_space(torch.full((1, 2048, 2049), value), 127, 128, reduce)
        assert torch.equal(cells, torch.full((1, 127, 128), value))


@pytest.mark.parametrize("reduce", PLAIN)
@pytest.mark.parametrize("frames", [one_each, four_each, in_clips(17, 4)])
def test_frames_of_a_latent_frame_equal_a_plain_loop(reduce, frames):
    groups = frame_groups(frames, 7)
    videos = torch.rand(2, frames(7), 3, 5)
    result = reduce_time(videos, groups, reduce)
    assert result.shape == (2, 7, 3, 5)
    for video in range(2):
        for latent, (first, end) in enumerate(groups):
            for y in range(3):
                for x in range(5):
                    values = [videos[video, frame, y, x].item() for frame in range(first, end)]
                    found = result[video, latent, y, x].item()
                    assert found == pytest.approx(PLAIN[reduce](values), abs=1e-6)


def test_a_moving_mask_keeps_its_union_and_its_mean():
    """64 pixels further with every frame, so that no two frames overlap."""
    width, frames = 64, 9
    video = torch.zeros(1, frames, 64, width * frames)
    for frame in range(frames):
        video[0, frame, :, frame * width : (frame + 1) * width] = 1
    groups = frame_groups(four_each, 3)
    cells = reduce_space(video[0], 8, 8 * frames, "max")[None]
    union = reduce_time(cells, groups, "max")[0]
    mean = reduce_time(cells, groups, "mean")[0]
    for latent, (first, end) in enumerate(groups):
        wanted = torch.zeros(8, 8 * frames)
        wanted[:, first * 8 : end * 8] = 1
        assert torch.equal(union[latent], wanted)
        assert torch.equal(mean[latent], wanted / (end - first))
    assert torch.equal(
        mean.sum(0) * torch.tensor([1.0] + [4.0] * 8).repeat_interleave(8), union.sum(0)
    )


def test_groups():
    assert frame_groups(one_each, 3) == [(0, 1), (1, 2), (2, 3)]
    assert frame_groups(four_each, 3) == [(0, 1), (1, 5), (5, 9)]
    clips = [b - a for a, b in frame_groups(in_clips(17, 4), 12)]
    assert clips == [1, 4, 4, 4, 4, 1, 4, 4, 4, 4, 1, 4]


@pytest.mark.parametrize(
    ("size", "left"),
    [
        ((64, 96), (64, 96)),
        ((71, 103), (64, 96)),
        ((72, 96), (72, 96)),  # a whole cell more: another picture
        ((63, 96), (63, 96)),
        ((128, 192), (128, 192)),
    ],
)
def test_only_what_the_encoder_cut_off_is_cut(size, left):
    assert tuple(cut_rim(torch.ones(1, *size), 8, 12, 8).shape[-2:]) == left


def test_in_pixels_every_cell_and_frame_is_a_block():
    groups = frame_groups(four_each, 2)
    cells = torch.rand(2, 2, 3, 4)
    pixels = in_pixels(cells, groups, 8)
    assert pixels.shape == (2 * 5, 24, 32)
    for reduce in PLAIN:
        back = reduce_space(pixels, 3, 4, reduce).unflatten(0, (2, 5))
        torch.testing.assert_close(reduce_time(back, groups, reduce), cells)
