"""Solid, feather and composite against loops in plain Python, pixel by pixel."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from ipadapter_pack.masks.shapes import OPERATIONS, composite, feather, solid

SIZE = st.integers(1, 7)
LENGTH = st.integers(0, 12)
OFFSET = st.integers(-8, 8)
VALUE = st.floats(0, 1, width=32)


@st.composite
def masks(draw):
    shape = (draw(st.integers(1, 3)), draw(SIZE), draw(SIZE))
    return torch.from_numpy(draw(arrays(np.float32, shape, elements=VALUE)))


def binary(operation):
    return lambda a, b: float(operation(round(a) != 0, round(b) != 0))


ORACLES = {
    "multiply": lambda a, b: a * b,
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "and": binary(lambda a, b: a and b),
    "or": binary(lambda a, b: a or b),
    "xor": binary(lambda a, b: a != b),
    "max": max,
    "min": min,
}


def composite_by_pixel(destination, source, x, y, operation):
    """float64 numpy [masks, H, W], one pixel at a time."""
    destination, source = destination.double().tolist(), source.double().tolist()
    result = []
    for i in range(max(len(destination), len(source))):
        under = destination[min(i, len(destination) - 1)]
        over = source[min(i, len(source) - 1)]
        rows = [list(row) for row in under]
        for row in range(len(rows)):
            for column in range(len(rows[0])):
                if 0 <= row - y < len(over) and 0 <= column - x < len(over[0]):
                    other = over[row - y][column - x]
                    rows[row][column] = ORACLES[operation](rows[row][column], other)
        result.append([[min(max(value, 0), 1) for value in row] for row in rows])
    return np.array(result)


def feather_by_pixel(mask, left, top, right, bottom):
    result = mask.double().numpy().copy()
    _, height, width = result.shape
    for row in range(height):
        for column in range(width):
            sides = (
                (column, left, width),
                (row, top, height),
                (width - 1 - column, right, width),
                (height - 1 - row, bottom, height),
            )
            rates = [(at + 1) / min(n, size) for at, n, size in sides if n > 0]
            result[:, row, column] *= min([1.0, *rates])
    return result


@pytest.mark.parametrize("value", [0.0, 0.37, 1.0])
def test_solid_is_the_value_everywhere(value):
    mask = solid(value, width=5, height=3)
    assert mask.shape == (1, 3, 5)
    assert mask.dtype == torch.float32
    assert torch.equal(mask, torch.tensor([[[value] * 5] * 3]))


def box_by_pixel(width, height, left, top, box_width, box_height):
    """The share of each pixel's area inside the box: float64 numpy [height, width]."""

    def share(pixel, size, start, length):
        return max(min(pixel + 1, (start + length) * size) - max(pixel, start * size), 0)

    return np.array(
        [
            [
                share(y, height, top, box_height) * share(x, width, left, box_width)
                for x in range(width)
            ]
            for y in range(height)
        ]
    )


@settings(deadline=None)
@given(VALUE, SIZE, SIZE, st.tuples(VALUE, VALUE, VALUE, VALUE))
def test_box_gives_each_pixel_the_share_it_covers(value, width, height, box):
    result = solid(value, width, height, box)
    assert result.shape == (1, height, width)
    expected = value * box_by_pixel(width, height, *box)
    np.testing.assert_allclose(result[0].numpy(), expected, atol=1e-5)


def test_boxes_side_by_side_fill_the_canvas_and_touch_nothing_else():
    left, right = (solid(1, 100, 3, box) for box in ((0, 0, 0.29, 1), (0.29, 0, 0.71, 1)))
    assert torch.equal(left + right, torch.ones(1, 3, 100))
    assert left[0, 0].tolist() == [1.0] * 29 + [0.0] * 71
    thirds = [solid(1, 512, 2, (i / 3, 0, 1 / 3, 1)) for i in range(3)]
    torch.testing.assert_close(sum(thirds), torch.ones(1, 2, 512))


@settings(deadline=None)
@given(masks(), LENGTH, LENGTH, LENGTH, LENGTH)
def test_feather_is_the_lowest_of_four_straight_fades(mask, left, top, right, bottom):
    before = mask.clone()
    result = feather(mask, left, top, right, bottom)
    expected = feather_by_pixel(mask, left, top, right, bottom)
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-6, atol=1e-7)
    assert torch.equal(mask, before)


def test_cosine_is_the_curve_of_the_straight_fade():
    straight = feather(torch.ones(1, 6, 9), 4, 2, 3, 5)
    curved = feather(torch.ones(1, 6, 9), 4, 2, 3, 5, curve="cosine")
    torch.testing.assert_close(curved, 0.5 - 0.5 * torch.cos(math.pi * straight))
    assert torch.equal(curved == 1, straight == 1)


def test_feather_of_nothing_changes_nothing():
    mask = torch.rand(2, 5, 4)
    assert torch.equal(feather(mask), mask)


def test_narrow_mask_faded_from_both_sides_still_reaches_the_middle():
    """ComfyUI's own node multiplies the fades: 200 and 200 on 100 pixels leaves 0.255."""
    result = feather(torch.ones(1, 3, 100), left=200, right=200)
    assert result.max() == 0.5
    assert torch.equal(result, result.flip(-1))


@pytest.mark.parametrize("operation", ORACLES)
@settings(deadline=None)
@given(destination=masks(), source=masks(), x=OFFSET, y=OFFSET)
def test_composite_combines_pixel_by_pixel(operation, destination, source, x, y):
    before = destination.clone(), source.clone()
    result = composite(destination, source, x, y, operation)
    expected = composite_by_pixel(destination, source, x, y, operation)
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-6, atol=1e-7)
    assert torch.equal(destination, before[0])
    assert torch.equal(source, before[1])


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("x", "y"), [(0, -4), (0, 6), (-3, 0), (5, 0), (9999, -9999)])
def test_source_outside_the_canvas_changes_nothing(operation, x, y):
    destination = torch.rand(1, 6, 5)
    assert torch.equal(composite(destination, torch.rand(1, 4, 3), x, y, operation), destination)


@pytest.mark.parametrize(("ours", "theirs"), [(1, 3), (3, 1), (2, 4), (4, 2), (3, 3)])
def test_shorter_batch_repeats_its_last_mask(ours, theirs):
    destination, source = torch.rand(ours, 4, 4) / 2, torch.rand(theirs, 4, 4) / 2
    result = composite(destination, source, 0, 0, "add")
    assert len(result) == max(ours, theirs)
    for i, mask in enumerate(result):
        assert torch.equal(mask, destination[min(i, ours - 1)] + source[min(i, theirs - 1)])


def test_result_never_shares_memory_with_its_inputs():
    destination, source = torch.zeros(1, 4, 4), torch.ones(1, 4, 4)
    composite(destination, source, 0, 0, "max").fill_(7)
    feather(source).fill_(7)
    assert destination.max() == 0
    assert source.max() == 1


def test_operations_are_cores_in_cores_order_then_ours():
    assert list(OPERATIONS) == list(ORACLES)


def test_two_dimensional_mask_is_one_mask():
    flat = torch.rand(4, 5)
    assert torch.equal(feather(flat, 2, 2, 2, 2), feather(flat[None], 2, 2, 2, 2))
    assert torch.equal(composite(flat, flat, 1, 1, "add"), composite(flat[None], flat, 1, 1, "add"))


@pytest.mark.parametrize("number", [np.int64, np.int32])
def test_numpy_numbers_are_numbers(number):
    three = number(3)
    mask = torch.rand(1, 6, 6)
    assert torch.equal(solid(np.float32(0.5), three, three), solid(0.5, 3, 3))
    assert torch.equal(feather(mask, three, three, three, three), feather(mask, 3, 3, 3, 3))
    ours = composite(mask, mask, -three, three, "add")
    assert torch.equal(ours, composite(mask, mask, -3, 3, "add"))


def test_result_is_on_the_first_masks_device():
    elsewhere = torch.zeros(1, 4, 4, device="meta")
    assert feather(elsewhere, 1, 1, 1, 1).device == elsewhere.device
    assert composite(elsewhere, torch.ones(1, 2, 2), 1, 1, "or").device == elsewhere.device


def test_half_precision_masks_are_combined():
    half = torch.full((1, 4, 4), 0.5, dtype=torch.float16)
    assert math.isclose(composite(half, torch.full((1, 4, 4), 0.25), 0, 0, "add").max(), 0.75)
    assert feather(half, left=4)[0, 0].tolist() == [0.125, 0.25, 0.375, 0.5]
