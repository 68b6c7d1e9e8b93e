"""Fades along an edge, growing and shrinking, against plain loops over every pair of pixels."""

import math

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from ipadapter_pack.masks.edges import DIRECTIONS, adjust, feather_shape, grow
from ipadapter_pack.masks.shapes import CURVES

SIDE = st.integers(1, 9)
GRAY = st.floats(0, 1, width=32)
PIXELS = st.integers(1, 12)
SHIFT = {"inward": 0.0, "outward": 1.0, "centered": 0.5}
CURVE = {"linear": lambda t: t, "cosine": lambda t: 0.5 - 0.5 * math.cos(math.pi * t)}


@st.composite
def masks(draw, values=GRAY):
    shape = (draw(st.integers(1, 3)), draw(SIDE), draw(SIDE))
    return torch.from_numpy(draw(arrays(np.float32, shape, elements=values)))


hard_masks = masks(st.sampled_from([0.0, 1.0]))


def places(mask):
    return [(row, column) for row in range(len(mask)) for column in range(len(mask[0]))]


def fade_by_pixel(mask, pixels, direction, curve):
    """Of a black and white mask [H, W]: how far along the fade each pixel lies."""
    rows = mask.tolist()
    result = [list(row) for row in rows]
    for y, x in places(rows):
        others = [place for place in places(rows) if rows[place[0]][place[1]] != rows[y][x]]
        if not others:
            continue
        depth = min(math.dist((y, x), other) for other in others) - 0.5
        depth = depth if rows[y][x] else -depth
        result[y][x] = CURVE[curve](min(max(depth / pixels + SHIFT[direction], 0), 1))
    return result


@pytest.mark.parametrize("curve", CURVE)
@pytest.mark.parametrize("direction", SHIFT)
@settings(deadline=None, max_examples=40)
@given(mask=hard_masks, pixels=PIXELS)
def test_fade_goes_by_the_distance_to_the_edge(direction, curve, mask, pixels):
    before = mask.clone()
    result = feather_shape(mask, pixels, direction, curve)
    expected = [fade_by_pixel(one, pixels, direction, curve) for one in mask]
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-5)
    assert torch.equal(mask, before)


def test_every_direction_and_curve_is_tested():
    assert SHIFT.keys() == DIRECTIONS.keys()
    assert CURVE.keys() == CURVES.keys()


@pytest.mark.parametrize("curve", CURVE)
@settings(deadline=None, max_examples=40)
@given(mask=hard_masks, pixels=PIXELS)
def test_two_regions_that_meet_add_up_when_both_are_centered(curve, mask, pixels):
    result = [feather_shape(region, pixels, "centered", curve) for region in (mask, 1 - mask)]
    torch.testing.assert_close(sum(result), torch.ones_like(mask))


def straight(*values):
    """A mask whose columns have these values."""
    return torch.tensor(values).expand(1, 5, -1)


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ("inward", [0, 0, 0, 0, 0.125, 0.375, 0.625, 0.875]),
        ("outward", [0.125, 0.375, 0.625, 0.875, 1, 1, 1, 1]),
        ("centered", [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1]),
    ],
)
def test_the_edge_lies_between_two_pixels(direction, expected):
    result = feather_shape(straight(*[0.0] * 4, *[1.0] * 4), 4, direction)
    assert result[0, 2].tolist() == expected


@pytest.mark.parametrize("curve", CURVES)
@settings(deadline=None, max_examples=60)
@given(mask=masks(), pixels=PIXELS)
def test_gray_masks_keep_their_bounds(curve, mask, pixels):
    assert (feather_shape(mask, pixels, "inward", curve) <= mask).all()
    assert (feather_shape(mask, pixels, "outward", curve) >= mask).all()
    centered = feather_shape(mask, pixels, "centered", curve)
    assert ((mask.min() <= centered) & (centered <= mask.max())).all()


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("low", "high"), [(0.0, 0.7), (0.25, 1.0), (0.1, 0.5)])
def test_a_fade_between_two_grays_stays_between_them(direction, low, high):
    hard = torch.zeros(1, 9, 12)
    hard[:, 3:6, 4:9] = 1
    result = feather_shape(low + (high - low) * hard, 3, direction)
    expected = low + (high - low) * feather_shape(hard, 3, direction)
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("high", [0.7, 1.0])
@pytest.mark.parametrize("rim", [0.2, 0.49, 0.5, 0.65])
def test_a_smoothed_rim_leaves_no_step_in_the_fade(direction, high, rim):
    fade = feather_shape(straight(*[0.0] * 12, rim, *[high] * 12), 8, direction)[0, 2]
    steps = fade.diff()
    assert (steps >= 0).all()
    assert steps.max() < 0.2
    assert fade[0] == 0
    assert fade[-1] == pytest.approx(high)


@pytest.mark.parametrize(
    ("direction", "other"), [("inward", slice(0, 11)), ("outward", slice(13, 24))]
)
def test_grays_on_the_side_without_a_fade_stay(direction, other):
    """But for the pixels at the edge itself, which may be a smoothed rim."""
    mask = torch.rand(1, 10, 24) / 2.1
    mask[..., 12:] += 0.5
    result = feather_shape(mask, 5, direction)
    assert torch.equal(result[..., other], mask[..., other])
    assert not torch.equal(result, mask)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_mask_without_an_edge_stays(direction):
    flat = torch.tensor([0.0, 0.49, 0.5, 1.0]).view(4, 1, 1).expand(4, 6, 5)
    assert torch.equal(feather_shape(flat, 3, direction), flat)
    mask = torch.rand(2, 6, 5)
    assert torch.equal(feather_shape(mask, 0, direction), mask)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_sides_of_the_canvas_are_no_edge(direction):
    half = torch.zeros(1, 8, 20)
    half[:, :, :10] = 1
    fade = feather_shape(half, 4, direction)
    assert torch.equal(fade, fade[:, :1].expand_as(fade))
    assert fade[0, 0, 0] == 1


def grown_by_pixel(mask, pixels):
    """float numpy [H, W]"""
    rows, best = mask.tolist(), max if pixels > 0 else min
    result = [
        [
            best(
                rows[row][column]
                for row, column in places(rows)
                if math.dist((y, x), (row, column)) <= abs(pixels)
            )
            for x in range(len(rows[0]))
        ]
        for y in range(len(rows))
    ]
    return np.array(result, dtype=np.float32)


@settings(deadline=None, max_examples=60)
@given(mask=masks() | hard_masks, pixels=st.integers(-12, 12))
def test_growing_takes_the_highest_within_a_disk(mask, pixels):
    before = mask.clone()
    result = grow(mask, pixels)
    np.testing.assert_array_equal(result.numpy(), [grown_by_pixel(one, pixels) for one in mask])
    assert torch.equal(mask, before)


@pytest.mark.parametrize("radius", [1, 2, 7, 30])
def test_growing_is_scipys_dilation_with_a_disk(radius):
    mask = torch.rand(1, 60, 50) ** 8
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disk = y**2 + x**2 <= radius**2
    grown = scipy.ndimage.grey_dilation(mask[0].numpy(), footprint=disk, mode="nearest")
    shrunk = scipy.ndimage.grey_erosion(mask[0].numpy(), footprint=disk, mode="nearest")
    np.testing.assert_array_equal(grow(mask, radius)[0].numpy(), grown)
    np.testing.assert_array_equal(grow(mask, -radius)[0].numpy(), shrunk)


def test_a_soft_edge_moves_and_stays_as_soft():
    ramp = straight(*[1.0] * 5, 0.75, 0.5, 0.25, *[0.0] * 8)
    assert torch.equal(grow(ramp, 3)[..., 3:], ramp[..., :-3])
    assert torch.equal(grow(ramp, -3)[..., :-3], ramp[..., 3:])


@settings(deadline=None, max_examples=30)
@given(mask=masks(), threshold=GRAY, pixels=st.integers(-4, 4), invert=st.booleans())
def test_adjust_goes_in_its_order(mask, threshold, pixels, invert):
    expected = (mask >= threshold).float() if threshold else mask
    expected = torch.from_numpy(
        np.stack([grown_by_pixel(one, pixels) if pixels else one.numpy() for one in expected])
    )
    assert torch.equal(
        adjust(mask, threshold, pixels, invert), 1 - expected if invert else expected
    )


def test_flat_and_half_precision_masks_are_masks():
    flat = (torch.rand(6, 7) > 0.5).half()
    assert torch.equal(
        feather_shape(flat, 3, "inward"), feather_shape(flat[None].float(), 3, "inward")
    )
    assert torch.equal(adjust(flat, 0.5, 1, True), adjust(flat[None].float(), 0.5, 1, True))


def test_results_never_share_memory_with_the_mask():
    mask = torch.ones(1, 4, 4)
    for result in (
        feather_shape(mask, 2, "inward"),
        feather_shape(mask, 0, "inward"),
        grow(mask, 0),
    ):
        result.fill_(7)
    assert mask.max() == 1
