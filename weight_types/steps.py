"""How a reference's weight varies over the steps of a run, and over the frames of a clip."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from ..ipadapter.errors import IPAdapterError

LARGEST = 1e6  # of a number in a text, far more than makes sense: float32 overflows at 3e38
Curve = tuple[tuple[float, float], ...]  # (fraction of the noise schedule, factor), rising


def read_curve(text: str, name: str) -> Curve:
    """``0: 1, 0.5: 0.2``, or ``1, 0.2, 0`` evenly from 0 to 1: factors as people write them.

    Between two of them runs a straight line; before the first and after the last they stay.
    Empty when the text is. IPAdapterError, naming the input, where a number cannot be read, a
    fraction is not from 0 to 1 or does not come after the one before.
    """
    parts = _parts(text)
    if not any(":" in part for part in parts):
        factors = read_numbers(text, name)
        last = max(len(factors) - 1, 1)
        return tuple((i / last, factor) for i, factor in enumerate(factors))
    curve = [tuple(_number(half, part, name) for half in part.split(":", 1)) for part in parts]
    places = [knot[0] for knot in curve]
    if not all(len(knot) == 2 for knot in curve):
        raise IPAdapterError(
            f"{name}: write only numbers, or a place before each number, such as 0: 1, 0.5: 0.2"
        )
    if places != sorted(set(places)) or places[0] < 0 or places[-1] > 1:
        raise IPAdapterError(
            f"{name}: the places {', '.join(f'{at:g}' for at in places)} must increase, from 0 "
            "(the first step) to 1 (the last)"
        )
    return tuple((at, factor) for at, factor in curve)


def read_numbers(text: str, name: str) -> tuple[float, ...]:
    """``1.0, 0.5``: numbers, one per item."""
    return tuple(_number(part, part, name) for part in _parts(text))


def _parts(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"[,\n;]", text) if part.strip()]


def _number(text: str, part: str, name: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) <= LARGEST:
        raise IPAdapterError(
            f"{name}: {part!r:.60} is not a number; write numbers with commas between, such as "
            "1, 0.5, 0"
        )
    return number


def at_fraction(curve: Curve, fraction: float) -> float:
    """The curve's factor there; 1 where the curve is empty."""
    if not curve:
        return 1.0
    places, factors = zip(*curve, strict=True)
    return float(np.interp(fraction, places, factors))


def part_of(parts: int, fraction: float) -> int:
    """Which of as many equal parts of the noise schedule it lies in."""
    return min(int(fraction * parts + 1e-5), parts - 1)


def fraction_of(sigma: float, sigmas: Sequence[float]) -> float:
    """Where a noise level lies in a schedule: 0 at the first of ``sigmas``, which fall, 1 at the last.

    To six digits: float32 noise levels are no better.
    """
    falling = np.negative(sigmas)  # np.interp wants them to rise
    return round(float(np.interp(-sigma, falling, np.linspace(0, 1, len(sigmas)))), 6)
