"""Weights over steps and frames, as people write them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.weight_types.steps import (
    at_fraction,
    fraction_of,
    part_of,
    read_curve,
    read_numbers,
)


@pytest.mark.parametrize(
    ("text", "curve"),
    [
        ("", ()),
        (" \n", ()),
        ("0.5", ((0.0, 0.5),)),
        ("1, 0.5, 0", ((0.0, 1.0), (0.5, 0.5), (1.0, 0.0))),
        ("0: 1, 0.25: -2\n1: 0", ((0.0, 1.0), (0.25, -2.0), (1.0, 0.0))),
        ("0.3:1;", ((0.3, 1.0),)),
    ],
)
def test_curves_are_read(text, curve):
    assert read_curve(text, "step_weights") == curve


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1, x", "'x' is not a number"),
        ("nan", "'nan' is not a number"),
        ("0: 1, 0.5", "write only numbers, or a place before each number"),
        ("0.5: 1, 0.5: 2", "the places 0.5, 0.5 must increase"),
        ("0.5: 1, 0.2: 2", "must increase"),
        ("0: 1, 1.5: 2", "must increase, from 0 (the first step) to 1 (the last)"),
        ("0: 1: 2", "'0: 1: 2' is not a number"),
    ],
)
def test_unreadable_ones_are_refused_by_name(text, problem):
    with pytest.raises(IPAdapterError) as caught:
        read_curve(text, "step_weights")
    assert str(caught.value).startswith("step_weights: ")
    assert problem in str(caught.value)


def test_numbers_are_read():
    assert read_numbers("1, .5\n-2", "frame_weights") == (1.0, 0.5, -2.0)
    assert read_numbers("", "frame_weights") == ()
    with pytest.raises(IPAdapterError, match="frame_weights: '0:1' is not a number"):
        read_numbers("0:1", "frame_weights")


def test_between_two_places_runs_a_straight_line():
    curve = ((0.25, 1.0), (0.75, 0.0))
    assert [at_fraction(curve, x) for x in (0, 0.25, 0.5, 0.75, 1)] == [1, 1, 0.5, 0, 0]
    assert at_fraction((), 0.3) == 1
    assert at_fraction(((0.5, 0.2),), 0.1) == at_fraction(((0.5, 0.2),), 0.9) == 0.2


@given(
    factors=st.lists(st.floats(-3, 3), min_size=2, max_size=6),
    fraction=st.floats(0, 1),
)
def test_an_even_list_is_torchs_interpolation(factors, fraction):
    curve = read_curve(", ".join(map(repr, factors)), "x")
    grid = torch.tensor([[fraction * 2 - 1, 0.0]], dtype=torch.float64).view(1, 1, 1, 2)
    line = torch.tensor(factors, dtype=torch.float64).view(1, 1, 1, -1)
    expected = torch.nn.functional.grid_sample(line, grid, align_corners=True).item()
    assert at_fraction(curve, fraction) == pytest.approx(expected, abs=1e-6)


def test_parts_are_equal():
    assert [part_of(4, x) for x in (0, 0.24, 0.25, 0.5, 0.76, 1)] == [0, 0, 1, 2, 3, 3]
    assert [part_of(3, i / 3) for i in range(4)] == [0, 1, 2, 2]


def test_a_noise_level_lies_between_two_of_the_schedule():
    sigmas = [8.0, 4.0, 2.0, 1.0, 0.5]
    assert [fraction_of(s, sigmas) for s in sigmas] == [0, 0.25, 0.5, 0.75, 1]
    assert fraction_of(3.0, sigmas) == 0.375
    assert fraction_of(100.0, sigmas) == 0
    assert fraction_of(0.0, sigmas) == 1


def test_a_schedule_with_a_flat_end_ends_at_one():
    """As distilled models have, which know few noise levels."""
    assert fraction_of(1.0, [8.0, 4.0, 1.0, 1.0, 1.0]) == 1
