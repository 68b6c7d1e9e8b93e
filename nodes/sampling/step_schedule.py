"""When a region acts: its step range, its weights and masks over the steps, in a model's sigmas."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

from ...ipadapter.reference import Region
from ...weight_types.steps import at_fraction, fraction_of, part_of

POINTS = 1000  # of a noise schedule, at which its sigmas are read: the timesteps that models know


class StepState(NamedTuple):
    """How a region acts at one step."""

    factor: float  # 0 outside of its range
    part: int  # which of its masks


class StepSchedule:
    """When each of these regions acts in a run of this model."""

    def __init__(self, regions: Sequence[Region], model_patcher: Any):
        self._sampling = model_patcher.get_model_object("model_sampling")
        self._regions = [(region, self._ends(region)) for region in regions]

    def _ends(self, region: Region) -> tuple[float, float]:
        ends = (region.settings.start_at, region.settings.end_at)
        start, end = (float(self._sampling.percent_to_sigma(at)) for at in ends)
        return start, end

    @cached_property
    def _sigmas(self) -> list[float]:
        inner = [self._sampling.percent_to_sigma(i / (POINTS - 1)) for i in range(1, POINTS - 1)]
        ends = (self._sampling.sigma_max, self._sampling.sigma_min)
        return [float(ends[0]), *map(float, inner), float(ends[1])]

    def states(self, sigma: float) -> tuple[StepState, ...]:
        """How each region acts at a noise level, in their order."""
        return tuple(self._moment(region, ends, sigma) for region, ends in self._regions)

    def _moment(self, region: Region, ends: tuple[float, float], sigma: float) -> StepState:
        start, end = ends
        if not end <= sigma <= start:
            return StepState(0.0, 0)
        over_time = region.settings.over_time
        if not (over_time.step_weights or over_time.step_masks):
            return StepState(1.0, 0)
        fraction = fraction_of(sigma, self._sigmas)
        return StepState(
            at_fraction(over_time.step_weights, fraction),
            part_of(len(region.settings.masks), fraction),
        )
