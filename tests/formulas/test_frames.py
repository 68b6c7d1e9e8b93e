"""Weights over frames and pictures, against loops that follow the published description."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ipadapter_pack.ipadapter.errors import IPAdapterError
from ipadapter_pack.nodes.legacy.formulas.frames import (
    METHODS,
    TIMINGS,
    fade,
    frame_weights,
    prompt_schedule,
)

CURVES = {
    "linear": lambda x: x,
    "ease_in_out": lambda x: (1 - math.cos(x * math.pi)) / 2,
    "ease_in": lambda x: math.sin(x * math.pi / 2),
    "ease_out": lambda x: 1 - math.cos(x * math.pi / 2),
}
NUMBERS = st.lists(st.floats(-5, 5), max_size=4)
FRAMES = st.integers(0, 40)


@pytest.mark.parametrize("timing", CURVES)
@given(numbers=NUMBERS, frames=FRAMES, start_frame=FRAMES, end_frame=FRAMES | st.just(9999))
def test_a_curve_runs_between_two_frames(timing, numbers, frames, start_frame, end_frame):
    start, end = (numbers[0], numbers[-1]) if numbers else (0, 1)
    frames = max(frames, 2)
    end_frame = min(end_frame, frames)
    expected = [start] * start_frame
    for i in range(start_frame, end_frame - 1):
        x = (i - start_frame) / (end_frame - start_frame - 1)
        expected.append(start + (end - start) * CURVES[timing](x))
    if end_frame > start_frame:
        expected.append(end)
    elif expected:
        expected[-1] = end
    expected += [end] * (frames - end_frame)
    weights = frame_weights(numbers, timing, frames, start_frame, end_frame)
    assert weights == pytest.approx(expected, abs=1e-12)
    assert end_frame <= start_frame or weights[-1] == end


@given(numbers=NUMBERS, frames=FRAMES, start_frame=FRAMES, end_frame=FRAMES)
def test_random_ones_repeat_and_stay_between(numbers, frames, start_frame, end_frame):
    weights = frame_weights(numbers, "random", frames, start_frame, end_frame)
    assert weights == frame_weights(numbers, "random", frames, start_frame, end_frame)
    assert len(weights) == len(frame_weights(numbers, "linear", frames, start_frame, end_frame))
    ends = (numbers[0], numbers[-1]) if numbers else (0, 1)
    assert all(min(ends) - 1e-9 <= weight <= max(ends) + 1e-9 for weight in weights)


def test_random_ones_differ_and_leave_the_common_numbers_alone():
    random.seed(3)
    state = random.getstate()
    weights = frame_weights([0, 1], "random", 16, 0, 9999)
    assert len(set(weights)) == 16
    assert random.getstate() == state


@given(numbers=NUMBERS, frames=FRAMES)
def test_custom_ones_are_as_they_are(numbers, frames):
    assert frame_weights(numbers, "custom", frames, 3, 5) == (numbers or [0])


def test_unknown_choices_are_refused():
    with pytest.raises(IPAdapterError, match="timing bounce: choose one of custom, linear"):
        frame_weights([0, 1], "bounce", 4, 0, 4)
    with pytest.raises(IPAdapterError, match="method loop: choose one of full batch, shift"):
        fade([0, 1], "loop", 4)
    assert len(TIMINGS) == 5


def each(pictures, frames):
    return [picture for picture in pictures for _ in range(frames)]


def published_alternation(weights, pictures):
    """The lists as version 2 is described to build them."""
    first = each(range(0, pictures, 2), 2)[1:]
    second = each(range(1, pictures, 2), 2)
    inverted = [max(weights) - (weight - min(weights)) for weight in weights]
    repeated = (weights + inverted) * (len(first) // 2)
    if pictures % 2:
        first.pop()
    else:
        second.pop()
        repeated += weights
    return repeated, each(first, len(weights)), each(second, len(weights))


def published(weights, method, pictures):
    many = len(weights)
    if method == "full batch":
        return weights * pictures, each(range(pictures), many), None
    if method == "shift batches":
        numbers = list(range(pictures))
        return weights * (pictures - 1), each(numbers[:-1], many), each(numbers[1:], many)
    return published_alternation(weights, pictures)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pictures", range(2, 7))
@given(weights=st.lists(st.floats(-2, 2), min_size=1, max_size=5))
def test_pictures_take_turns(method, pictures, weights):
    made = fade(weights, method, pictures)
    assert tuple(made) == published(weights, method, pictures)
    assert len(made.weights) == len(made.first)
    assert made.second is None or len(made.second) == len(made.first)


@pytest.mark.parametrize("method", METHODS)
def test_added_frames_hold_the_first_and_the_last(method):
    bare, made = fade([0.2, 0.7], method, 3), fade([0.2, 0.7], method, 3, 2, 3)
    assert made.weights == [bare.weights[0]] * 2 + bare.weights + [bare.weights[-1]] * 3
    assert made.first == [0] * 2 + bare.first + [2] * 3
    if bare.second is not None:
        assert made.second == [0] * 2 + bare.second + [2] * 3


def test_one_picture_has_no_next():
    assert fade([0, 1], "full batch", 1).first == [0, 0]
    for method in ("shift batches", "alternate batches"):
        with pytest.raises(IPAdapterError, match=f"^image: {method} fades from one picture to"):
            fade([0, 1], method, 1)


def test_a_prompt_for_each_picture():
    prompt = "a cat\n\n  \na dog\n"
    assert prompt_schedule(prompt, 2, 16, 0, 0) == '"0": "a cat",\n"16": "a dog",\n'
    assert prompt_schedule(prompt, 1, 16, 0, 0) == '"0": "a cat",\n'
    assert prompt_schedule(prompt, 3, 8, 4, 5) == (
        '"0": "a cat",\n"4": "a cat",\n"12": "a dog",\n"20": "a dog",\n"28": "a dog",\n'
    )


@pytest.mark.parametrize(("prompt", "pictures"), [("", 3), (" \n\n", 3), ("a cat", 0)])
def test_no_prompts(prompt, pictures):
    assert prompt_schedule(prompt, pictures, 16, 2, 2) == ""
