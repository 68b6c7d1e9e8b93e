"""Weights for the frames of a clip, and the two pictures that each frame fades between."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ....ipadapter.errors import IPAdapterError, pick

# How many frames a way from one weight to another takes -> the share of it gone at each.
Timing = Callable[[int], list[float]]


class Fade(NamedTuple):
    """For each frame the weight and the numbers of its pictures; ``second`` has none of its own
    where only one picture acts at a time."""

    weights: list[float]
    first: list[int]
    second: list[int] | None


def frame_weights(
    numbers: Sequence[float], timing: str, frames: int, start_frame: int, end_frame: int
) -> list[float]:
    """One weight for each frame: custom, the numbers as they are; else the first number up to
    ``start_frame``, the last from ``end_frame`` on, and a way between the two. Never empty."""
    if timing == CUSTOM:
        return list(numbers) or [0.0]
    shares = pick(TIMINGS, timing, "timing", CUSTOM)
    start, end = (numbers[0], numbers[-1]) if numbers else (0.0, 1.0)
    frames = max(frames, 2)
    end_frame = min(end_frame, frames)
    way = [
        end if share == 1 else start + (end - start) * share
        for share in shares(max(end_frame - start_frame, 0))
    ]
    weights = [start] * start_frame + way
    if weights and not way and timing != RANDOM:
        weights[-1] = end
    return weights + [end] * (frames - end_frame)


def by_curve(curve: Callable[[float], float]) -> Timing:
    """Along a curve from (0, 0) to (1, 1), whose end is always reached."""
    return lambda count: [*(curve(i / (count - 1)) for i in range(count - 1)), 1.0][:count]


def at_random(count: int) -> list[float]:
    """The same for every run, so that a graph repeats."""
    generator = random.Random(0)
    return [generator.random() for _ in range(count)]


CUSTOM, RANDOM = "custom", "random"
TIMINGS: dict[str, Timing] = {
    "linear": by_curve(lambda x: x),
    "ease_in_out": by_curve(lambda x: (1 - math.cos(math.pi * x)) / 2),
    "ease_in": by_curve(lambda x: math.sin(math.pi * x / 2)),
    "ease_out": by_curve(lambda x: 1 - math.cos(math.pi * x / 2)),
    RANDOM: at_random,
}


def fade(
    weights: list[float], method: str, pictures: int, frames_before: int = 0, frames_after: int = 0
) -> Fade:
    """The weights once for each picture, or for each step from one picture to the next.

    The frames before have the first weight and picture, those after the last.
    """
    spread = pick(METHODS, method, "method")
    if pictures < 2 and spread is not full_batch:
        raise IPAdapterError(
            f"image: {method} fades from one picture to the next, and this is only one; connect "
            "at least two, or choose the method full batch"
        )
    values, first, second = spread(weights, pictures)
    before, after = [0] * frames_before, [pictures - 1] * frames_after
    return Fade(
        values[:1] * frames_before + values + values[-1:] * frames_after,
        before + first + after,
        None if second is None else before + second + after,
    )


def full_batch(weights: list[float], pictures: int) -> Fade:
    return Fade(weights * pictures, held(range(pictures), weights), None)


def shift_batches(weights: list[float], pictures: int) -> Fade:
    """From each picture in ``first`` to the next in ``second``."""
    steps = range(pictures - 1)
    return Fade(
        weights * len(steps), held(steps, weights), held([step + 1 for step in steps], weights)
    )


def alternate_batches(weights: list[float], pictures: int) -> Fade:
    """Even pictures in ``first``, odd ones in ``second``, so that only one changes at a time; every
    other step runs upside down."""
    steps = range(pictures - 1)
    low, high = min(weights), max(weights)
    inverted = [high - (weight - low) for weight in weights]
    return Fade(
        [weight for step in steps for weight in (inverted if step % 2 else weights)],
        held([step + step % 2 for step in steps], weights),
        held([step + 1 - step % 2 for step in steps], weights),
    )


def held(pictures: Sequence[int], weights: list[float]) -> list[int]:
    """Each picture for as many frames as there are weights."""
    return [picture for picture in pictures for _ in weights]


METHODS: dict[str, Callable[[list[float], int], Fade]] = {
    "full batch": full_batch,
    "shift batches": shift_batches,
    "alternate batches": alternate_batches,
}


def prompt_schedule(
    prompt: str, pictures: int, frames: int, frames_before: int, frames_after: int
) -> str:
    """One line of the prompt for each picture, after the frame at which it begins, as packs that
    schedule prompts read it. The last line repeats; empty where there are none, or no pictures."""
    lines = [line for line in prompt.splitlines() if line.strip()]
    if not lines or pictures == 0:
        return ""
    wanted = [lines[min(i, len(lines) - 1)] for i in range(pictures)]
    entries = [(i * frames + frames_before, line) for i, line in enumerate(wanted)]
    if frames_before > 0:
        entries.insert(0, (0, wanted[0]))
    if frames_after > 0:
        entries.append((pictures * frames + frames_before, wanted[-1]))
    return "".join(f'"{frame}": "{line}",\n' for frame, line in entries)
