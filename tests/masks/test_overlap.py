"""What overlapping masks become, against loops in float64, pixel by pixel."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from ipadapter_pack.masks.layout import Area, crop
from ipadapter_pack.masks.overlap import RULES, background, multiply, same_size

RANGES = [(0.0, 1.0), (0.0, 0.5), (0.5, 1.0), (0.25, 0.75)]


@st.composite
def regions(draw):
    """Masks of one size, each with a range."""
    height, width = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    values = st.floats(0, 1, width=32) | st.sampled_from([0.0, 1.0])
    masks = [
        torch.from_numpy(draw(arrays(np.float32, (1, height, width), elements=values)))
        for _ in range(draw(st.integers(1, 5)))
    ]
    return masks, [draw(st.sampled_from(RANGES)) for _ in masks]


def meet(a, b):
    return max(a[0], b[0]) < min(a[1], b[1])


def by_pixel(rule, masks, ranges):
    shape = masks[0].shape
    values = [mask.double().numpy().copy() for mask in masks]
    out = [np.zeros(shape) for _ in masks]
    for at in itertools.product(*map(range, shape)):
        for i, own in enumerate(values):
            others = [j for j in range(len(masks)) if j != i and meet(ranges[i], ranges[j])]
            if rule == "add":
                out[i][at] = own[at]
            elif rule == "normalize":
                out[i][at] = own[at] / max(1.0, own[at] + sum(values[j][at] for j in others))
            else:
                taken = sum(out[j][at] for j in others if j < i)
                out[i][at] = min(own[at], max(1.0 - taken, 0.0))
    return out


@settings(deadline=None)
@given(given_regions=regions())
@pytest.mark.parametrize("rule", RULES)
def test_each_rule_is_the_loop(rule, given_regions):
    masks, ranges = given_regions
    before = [mask.clone() for mask in masks]
    for found, expected in zip(
        RULES[rule].value(masks, ranges), by_pixel(rule, masks, ranges), strict=True
    ):
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    assert all(map(torch.equal, masks, before))


@settings(deadline=None)
@given(given_regions=regions(), start=st.sampled_from([0.0, 0.1, 0.6]))
@pytest.mark.parametrize("rule", ["normalize", "priority"])
def test_those_that_act_at_one_step_are_never_more_than_one(rule, given_regions, start):
    masks, ranges = given_regions
    found = RULES[rule].value(masks, ranges)
    for step in (0.1, 0.3, 0.6, 0.9):
        acting = [m for m, (begin, end) in zip(found, ranges, strict=True) if begin < step < end]
        assert not acting or torch.stack(acting).sum(0).max() <= 1 + 1e-6


def test_priority_loses_nothing_between_complementary_fades():
    fade = torch.linspace(0, 1, 16)[None, None]
    first, second = RULES["priority"].value([fade, 1 - fade], [(0.0, 1.0)] * 2)
    assert torch.equal(first, fade)
    assert torch.equal(second, 1 - fade)


def test_where_only_one_is_it_stays_to_the_bit():
    masks = [torch.rand(1, 4, 4), torch.rand(1, 4, 4)]
    masks[0][..., 2:] = 0
    masks[1][..., :2] = 0
    for rule in RULES.values():
        assert all(map(torch.equal, rule.value(masks, [(0.0, 1.0)] * 2), masks))


def test_other_sizes_none_and_batches():
    half = torch.zeros(1, 2, 2)
    half[..., 0] = 1
    frames = torch.ones(3, 4, 4)
    frames[1] = 0
    whole, left, moving = RULES["normalize"].value([None, half, frames], [(0.0, 1.0)] * 3)
    assert whole.shape == left.shape == moving.shape == (3, 4, 4)
    torch.testing.assert_close(whole + left + moving, torch.ones(3, 4, 4))
    assert whole[1, 0, 3] == 1  # nobody else there


@settings(deadline=None)
@given(given_regions=regions())
def test_background_is_what_is_left(given_regions):
    masks, ranges = given_regions
    own = torch.rand(masks[0].shape)
    for mask, factor in ((None, torch.ones_like(own)), (own, own)):
        found = background(masks, ranges, mask, (0.0, 0.5))
        sums = sum(m.double() for m, r in zip(masks, ranges, strict=True) if meet(r, (0.0, 0.5)))
        expected = (1 - sums).clamp(min=0) * factor if torch.is_tensor(sums) else mask
        if expected is None:
            assert found is None
        else:
            torch.testing.assert_close(found, expected.float().expand_as(found))


def test_background_of_one_that_acts_everywhere_is_black():
    assert not background([None], [(0.0, 1.0)], None, (0.0, 1.0)).any()


def test_same_size_does_not_share_memory_with_what_it_was_given():
    mask = torch.ones(1, 2, 2)
    same_size([mask])[0].zero_()
    assert mask.all()


# Crop


@settings(deadline=None)
@given(
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    x=st.integers(-8, 8), y=st.integers(-8, 8), width=st.integers(1, 8), height=st.integers(1, 8),
)  # fmt: skip
def test_crop_is_the_loop(size, x, y, width, height):
    assume(size != (1, 1))
    mask = torch.rand(2, *size)
    found = crop(mask, None, Area(y, x, height, width))
    expected = torch.zeros(2, height, width)
    for row, column in itertools.product(range(height), range(width)):
        if 0 <= row + y < size[0] and 0 <= column + x < size[1]:
            expected[:, row, column] = mask[:, row + y, column + x]
    assert torch.equal(found, expected)


def test_crop_of_one_pixel_is_that_value():
    """It fits a picture of any size, so nothing is known to lie outside of it."""
    assert crop(torch.full((2, 1, 1), 0.3), None, Area(5, -9, 4, 3)).eq(0.3).all()
    assert crop(torch.ones(1, 1, 1), (8, 8), Area(6, 0, 4, 1))[0, :, 0].tolist() == [1, 1, 0, 0]


def test_crop_of_a_picture_that_is_larger_than_the_mask():
    mask = torch.zeros(1, 8, 8)
    mask[..., 4:] = 1
    found = crop(mask, (64, 64), Area(0, 24, 64, 16))
    assert found.shape == (1, 64, 16)
    assert not found[..., :4].any()  # but for the pixels between two of the mask's
    assert found[..., 12:].all()


def test_times_takes_the_larger_size():
    assert multiply(None, torch.ones(1, 2, 2)).shape == (1, 2, 2)
    small, large = torch.full((3, 2, 2), 0.5), torch.full((1, 4, 4), 0.5)
    for pair in ((small, large), (large, small)):
        product = multiply(*pair)
        assert product.shape == (3, 4, 4)
        assert (product == 0.25).all()
