"""Masks brought to another size, against plain loops and against what attention sees."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ipadapter_pack.masks.fit import MODES, fit
from ipadapter_pack.masks.grid import to_grid

SIDE = st.integers(1, 24)


def resized_by_pixel(mask, height, width):
    """float64 numpy [height, width]: means of the covered pixels, or linear between centers."""
    return axis_by_pixel(axis_by_pixel(mask, height).T, width).T


def axis_by_pixel(mask, cells):
    rows, size = mask.astype(np.float64), len(mask)
    result = []
    for cell in range(cells):
        if size >= cells:
            start, end = cell * size / cells, (cell + 1) * size / cells
            shares = [max(min(end, i + 1) - max(start, i), 0) for i in range(size)]
        else:
            center = min(max((cell + 0.5) * size / cells - 0.5, 0), size - 1)
            shares = [max(1 - abs(center - i), 0) for i in range(size)]
        result.append(
            sum(share * row for share, row in zip(shares, rows, strict=True)) / sum(shares)
        )
    return np.array(result)


def cover_by_pixel(mask, height, width):
    scale = max(height / mask.shape[0], width / mask.shape[1])
    scaled = resized_by_pixel(mask, *(round(side * scale) for side in mask.shape))
    down, right = (scaled.shape[0] - height) // 2, (scaled.shape[1] - width) // 2
    return scaled[down : down + height, right : right + width]


def contain_by_pixel(mask, height, width, outside):
    scale = min(height / mask.shape[0], width / mask.shape[1])
    scaled = resized_by_pixel(mask, *(max(round(side * scale), 1) for side in mask.shape))
    result = np.full((height, width), outside)
    down, right = (height - scaled.shape[0]) // 2, (width - scaled.shape[1]) // 2
    result[down : down + scaled.shape[0], right : right + scaled.shape[1]] = scaled
    return result


def random_mask(height, width, masks=1):
    random = torch.Generator().manual_seed(height * 1000 + width)
    return torch.rand(masks, height, width, generator=random)


@settings(deadline=None)
@given(SIDE, SIDE, SIDE, SIDE)
def test_stretch_resizes_each_axis(height, width, new_height, new_width):
    mask = random_mask(height, width, masks=2)
    result = fit(mask, new_width, new_height, "stretch")
    expected = [resized_by_pixel(one, new_height, new_width) for one in mask.numpy()]
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-5)


@settings(deadline=None)
@given(SIDE, SIDE, SIDE, SIDE, st.sampled_from([0.0, 0.3, 1.0]))
def test_contain_shows_all_in_the_middle(height, width, new_height, new_width, outside):
    mask = random_mask(height, width)
    result = fit(mask, new_width, new_height, "contain", outside)[0]
    expected = contain_by_pixel(mask[0].numpy(), new_height, new_width, outside)
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-5)


@settings(deadline=None)
@given(SIDE, SIDE, st.integers(1, 6), SIDE, SIDE)
def test_cover_is_the_middle_of_a_mask_as_large_as_needed(height, width, times, cut_y, cut_x):
    """At whole and unchanged scales nothing is rounded, so both orders of work agree."""
    mask = random_mask(height, width)
    new_height, new_width = (height * times, max(width - cut_x, 1) * times)
    if cut_y % 2:
        new_height, new_width = (max(height - cut_y, 1) * times, width * times)
    result = fit(mask, new_width, new_height, "cover")[0]
    expected = cover_by_pixel(mask[0].numpy(), new_height, new_width)
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-5)


@settings(deadline=None)
@given(st.integers(20, 60), st.integers(20, 60), st.integers(20, 90), st.integers(20, 90))
def test_cover_keeps_proportions_and_center(height, width, new_height, new_width):
    """A ramp stays a ramp: its slope in each direction is that of the one scale."""
    scale = max(new_height / height, new_width / width)
    ramp = torch.arange(width).float().expand(1, height, -1) / width
    row = fit(ramp, new_width, new_height, "cover")[0, new_height // 2] * width
    middle = row[new_width // 4 : -(new_width // 4)]
    slope = (middle[-1] - middle[0]) / (len(middle) - 1)
    assert abs(slope * scale - 1) < 0.1
    assert abs(row.mean() - (width - 1) / 2) < 1.5


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("size", "new", "grid"),
    [
        ((1024, 1536), (512, 768), (64, 96)),  # smaller
        ((1000, 1500), (512, 768), (64, 96)),  # smaller, by no whole number
        ((1000, 1500), (512, 768), (32, 48)),
        ((64, 96), (512, 768), (64, 96)),  # larger
        ((512, 768), (512, 768), (33, 48)),  # the same
    ],
)
def test_attention_sees_of_a_fitted_mask_what_it_sees_of_the_mask(mode, size, new, grid):
    mask = (random_mask(*size) > 0.5).float()
    mask[..., : size[1] // 3] = 1
    fitted = fit(mask, new[1], new[0], mode)
    if size[0] >= new[0]:
        torch.testing.assert_close(to_grid(fitted, *grid), to_grid(mask, *grid))
    else:  # made larger it is linear between centers, so its means are a little softer
        assert (to_grid(fitted, *grid) - to_grid(mask, *grid)).abs().mean() < 0.15


@pytest.mark.parametrize("mode", MODES)
def test_white_stays_white_and_black_black(mode):
    for value in (0.0, 1.0):
        flat = torch.full((2, 37, 53), value)
        assert torch.equal(fit(flat, 91, 65, mode, value), torch.full((2, 65, 91), value))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("height", "width"), [(1, 5000), (5000, 1), (2048, 2048), (1, 1)])
@pytest.mark.parametrize(("new_height", "new_width"), [(512, 512), (1, 700), (700, 1)])
def test_extreme_shapes_fit(mode, height, width, new_height, new_width):
    result = fit(random_mask(height, width), new_width, new_height, mode)
    assert result.shape == (1, new_height, new_width)
    assert ((result >= 0) & (result <= 1)).all()


def test_the_same_size_is_the_same_mask_and_a_copy():
    mask = random_mask(30, 20, masks=3)
    for mode in MODES:
        result = fit(mask, 20, 30, mode)
        assert torch.equal(result, mask)
        result.fill_(7)
    assert mask.max() <= 1
